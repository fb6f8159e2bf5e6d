"""The token maker of an application as FastAPI's tutorial builds one, with passlib and python-jose: what people hold today."""

import datetime

from jose import jwt
from passlib.context import CryptContext

ALGORITHM = "HS256"
TOKEN_LIFE = datetime.timedelta(minutes=30)

# passlib 1.7.4 wants bcrypt below 4.1.
passwords = CryptContext(schemes=["bcrypt"], bcrypt__rounds=5)


class OldShop:
    """Knows its people by a number, and signs with one secret."""

    def __init__(self, secret):
        self._secret = secret
        self._people = {}

    def sign_up(self, name, number, password):
        self._people[name] = (number, passwords.hash(password))

    def people(self):
        """SELECT name, id, hashed_password FROM users"""
        return [(name, number, stored) for name, (number, stored) in self._people.items()]

    def sign_in(self, name, password):
        """POST /token: an access token, or None."""
        number, stored = self._people.get(name, (None, None))
        if not passwords.verify(password, stored or passwords.hash("nobody")):
            return None
        return self.token(number) if stored else None

    def token(self, number, life=TOKEN_LIFE):
        # No iss, no aud, no iat: the tutorial has none.
        claims = {"sub": str(number), "exp": datetime.datetime.now(datetime.timezone.utc) + life}
        return jwt.encode(claims, self._secret, algorithm=ALGORITHM)

    def person(self, token):
        """What its routes depended on."""
        return jwt.decode(token, self._secret, algorithms=[ALGORITHM])["sub"]
