"""Settings of the tests' processes: the real ones, but passwords are hashed fast.

Django's own hasher takes half a second on purpose, for every user a test makes and every one that signs in.
"""

from django.conf import global_settings

from config.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *global_settings.PASSWORD_HASHERS]
