import gc
import os

gc.disable()  # what is loaded stays: looking for garbage meanwhile takes half of the time

from app import create_app  # noqa: E402
from config import Config  # noqa: E402

app = create_app(Config.from_env(os.environ))
gc.freeze()
gc.enable()
