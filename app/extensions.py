"""The Flask extensions, which `create_app` binds to an application; `languages` has one more."""

from flask_cors import CORS
from flask_migrate import Migrate
from flask_sock import Sock
from flask_sqlalchemy import SQLAlchemy

from app.database.types import Base

db = SQLAlchemy(model_class=Base)
migrate = Migrate()
cors = CORS()
sock = Sock()
