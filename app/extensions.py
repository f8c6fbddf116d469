"""The unbound extensions. `create_app` binds them; nothing else holds a global."""

from flask_babel import Babel
from flask_cors import CORS
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_migrate import Migrate
from flask_sock import Sock
from flask_sqlalchemy import SQLAlchemy

from app.database.types import Base

db = SQLAlchemy(model_class=Base)
migrate = Migrate()
babel = Babel()
cors = CORS()
sock = Sock()
# It counts with the `Counters` of the application that answers, see `app/limits/rules/rules.py`.
limiter = Limiter(get_remote_address, strategy="fixed-window", storage_uri="counts://")
