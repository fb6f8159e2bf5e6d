"""Password hashes as other programs make them, by those programs.

`python hashes.py` prints one of each, as they stand in the unit tests.
"""

import base64
import ctypes
import ctypes.util
import hashlib
import json
import os
import pathlib
import subprocess

import bcrypt
import django
import firebase_scrypt as firebasescrypt
import passlib.hash
import werkzeug.security
from argon2 import PasswordHasher
from django.conf import settings

settings.configure(PASSWORD_HASHERS=[])
django.setup()

from django.contrib.auth import hashers  # noqa: E402

FIREBASE_KEY = base64.b64encode(bytes(range(64))).decode()
FIREBASE_SEPARATOR = "Bw=="


def crypt(prefix):
    """The C library's own, which PHP, Perl and many others use."""
    library = ctypes.CDLL(ctypes.util.find_library("crypt"))
    library.crypt.restype = ctypes.c_char_p

    def make(password):
        salt = prefix + base64.b64encode(os.urandom(16), b"./").decode().replace("=", "")[:21] + "e"
        return library.crypt(password.encode(), salt.encode()).decode()

    return make


def keycloak(algorithm, digest, iterations):
    """As Keycloak's export has it: two texts of JSON."""

    def make(password):
        salt = os.urandom(16)
        value = hashlib.pbkdf2_hmac(digest, password.encode(), salt, iterations, 64)
        secret = {"value": base64.b64encode(value).decode(), "salt": base64.b64encode(salt).decode()}
        data = {"hashIterations": iterations, "algorithm": algorithm, "additionalParameters": {}}
        return json.dumps({
            "secretData": json.dumps({**secret, "additionalParameters": {}}),
            "credentialData": json.dumps(data),
        })

    return make


def keycloak_argon2(password):
    salt = os.urandom(16)
    hasher = PasswordHasher(time_cost=2, memory_cost=1024, parallelism=1)
    value = hasher.hash(password, salt=salt).rsplit("$", 1)[1]
    secret = {"value": value + "=" * (-len(value) % 4), "salt": base64.b64encode(salt).decode()}
    parameters = {"hashLength": ["32"], "memory": ["1024"], "type": ["id"], "version": ["1.3"], "parallelism": ["1"]}
    data = {"hashIterations": 2, "algorithm": "argon2", "additionalParameters": parameters}
    return json.dumps({
        "secretData": json.dumps({**secret, "additionalParameters": {}}),
        "credentialData": json.dumps(data),
    })


def firebase(password):
    """The tool for it compares only, so what it compares with is computed by its parts."""
    salt = base64.b64encode(os.urandom(8)).decode()
    derived = firebasescrypt.generate_derived_key(password, salt, FIREBASE_SEPARATOR, 8, 14)
    value = base64.b64encode(firebasescrypt.encrypt(base64.b64decode(FIREBASE_KEY), derived)).decode()
    return f"$firebase-scrypt$ln=14,r=8,ss={FIREBASE_SEPARATOR},sk={FIREBASE_KEY}${salt}${value}"


def of_django(hasher, **how):
    def make(password):
        maker = hasher()
        for name, value in how.items():
            setattr(maker, name, value)
        return maker.encode(password, maker.salt())

    return make


def of_node(name):
    """As the packages of npm make them."""
    script = pathlib.Path(__file__).parent / "node" / "hashes.mjs"

    def make(password):
        made = subprocess.run(["node", script, password], capture_output=True, check=True, timeout=60)
        return json.loads(made.stdout)[name]

    return make


MAKERS = {
    "bcrypt 2b": lambda password: bcrypt.hashpw(password.encode(), bcrypt.gensalt(5)).decode(),
    "bcrypt 2a": lambda password: bcrypt.hashpw(password.encode(), bcrypt.gensalt(5, prefix=b"2a")).decode(),
    "libcrypt 2y": crypt("$2y$05$"),
    "passlib bcrypt": passlib.hash.bcrypt.using(rounds=5).hash,
    "passlib bcrypt-sha256": passlib.hash.bcrypt_sha256.using(rounds=5).hash,
    "passlib bcrypt-sha256 v1": passlib.hash.bcrypt_sha256.using(rounds=5, version=1).hash,
    "passlib pbkdf2": passlib.hash.pbkdf2_sha1.using(rounds=1000).hash,
    "passlib pbkdf2-sha256": passlib.hash.pbkdf2_sha256.using(rounds=1000).hash,
    "passlib pbkdf2-sha512": passlib.hash.pbkdf2_sha512.using(rounds=1000).hash,
    "passlib scrypt": passlib.hash.scrypt.using(rounds=8).hash,
    "argon2-cffi": PasswordHasher(time_cost=2, memory_cost=1024, parallelism=2).hash,
    "django pbkdf2_sha256": of_django(hashers.PBKDF2PasswordHasher, iterations=1000),
    "django pbkdf2_sha1": of_django(hashers.PBKDF2SHA1PasswordHasher, iterations=1000),
    "django bcrypt_sha256": of_django(hashers.BCryptSHA256PasswordHasher, rounds=5),
    "django bcrypt": of_django(hashers.BCryptPasswordHasher, rounds=5),
    "django argon2": of_django(hashers.Argon2PasswordHasher, memory_cost=1024, parallelism=1),
    "django scrypt": of_django(hashers.ScryptPasswordHasher, work_factor=2**10),
    "werkzeug pbkdf2": lambda password: werkzeug.security.generate_password_hash(password, "pbkdf2:sha256:1000"),
    "werkzeug scrypt": lambda password: werkzeug.security.generate_password_hash(password, "scrypt:1024:8:1"),
    "spring bcrypt": lambda password: "{bcrypt}" + crypt("$2a$05$")(password),
    "keycloak pbkdf2": keycloak("pbkdf2", "sha1", 1000),
    "keycloak pbkdf2-sha256": keycloak("pbkdf2-sha256", "sha256", 1000),
    "keycloak pbkdf2-sha512": keycloak("pbkdf2-sha512", "sha512", 1000),
    "keycloak argon2": keycloak_argon2,
    "firebase": firebase,
    "npm bcrypt": of_node("npm bcrypt"),
    "npm bcrypt 2a": of_node("npm bcrypt 2a"),
    "npm bcryptjs": of_node("npm bcryptjs"),
    "npm argon2": of_node("npm argon2"),
    "npm argon2i": of_node("npm argon2i"),
    "npm firebase-scrypt": of_node("npm firebase-scrypt"),
}

if __name__ == "__main__":
    for name, make in MAKERS.items():
        print(json.dumps([name, make("pässwörd 가")], ensure_ascii=False))
