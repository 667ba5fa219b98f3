"""Django's settings. Every value that differs between machines comes from the environment (README: Settings)."""

from pathlib import Path
from urllib.parse import urlsplit

from csp.constants import NONE, SELF

from config import databases, environment
from config.unfold import UNFOLD  # noqa: F401  (Django reads it here)

BASE_DIR = Path(__file__).resolve().parent.parent
STACK_REMEDY = "Set it, or start embedded services with `make demo` or `make shell`."

# --- the machine -------------------------------------------------------------------------------------------------
DEBUG = environment.boolean("DJANGO_DEBUG", default=False)
SECRET_KEY = environment.text(
    "DJANGO_SECRET_KEY",
    "only-for-debugging-never-reachable-from-outside" if DEBUG else None,
    remedy="Set it to 50 or more random characters and keep it out of the repository.",
)
ALLOWED_HOSTS = environment.words("ALLOWED_HOSTS", default="localhost,127.0.0.1,[::1]" if DEBUG else "")
CSRF_TRUSTED_ORIGINS = environment.words("CSRF_TRUSTED_ORIGINS")
# True when browsers reach the site over https, directly or through a proxy that sets X-Forwarded-Proto.
SERVED_OVER_HTTPS = environment.boolean("DJANGO_HTTPS", default=not DEBUG)

# --- apps --------------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "unfold",  # before django.contrib.admin: its templates replace the admin's
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "csp",
    "rest_framework",
    "rest_framework_api_key",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "djmoney",
    "django_celery_beat",
    "django_celery_results",
    "djstripe",
    "config",
    "billing",
    "promotions",
    "metering",
    "ledger",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- databases ---------------------------------------------------------------------------------------------------
DATABASE_URL = environment.address("DATABASE_URL", schemes=databases.SCHEMES, remedy=STACK_REMEDY)
# Migrations and partitions belong to another role than the one requests run as (DESIGN.md §3, rule 2).
DATABASE_OWNER_URL = environment.address(
    "DATABASE_OWNER_URL",
    schemes=databases.SCHEMES,
    default=DATABASE_URL,
    remedy="Give the role that owns the tables: postgres://user:password@host/name.",
)
DATABASES = {
    "default": databases.connection_settings(DATABASE_URL),
    "owner": databases.connection_settings(DATABASE_OWNER_URL),
}

# --- Redis and Celery --------------------------------------------------------------------------------------------
REDIS_URL = environment.address("REDIS_URL", schemes=("redis", "rediss", "unix"), remedy=STACK_REMEDY)
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}

CELERY_BROKER_URL = environment.address(
    "CELERY_BROKER_URL",
    schemes=("redis", "rediss", "sentinel"),
    remedy=f"{STACK_REMEDY} A Redis Cluster cannot be Celery's broker: name a single server or a sentinel.",
)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A task not acknowledged after this many seconds is given to another worker. Longer than any task may take.
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 1800}
CELERY_TASK_TIME_LIMIT = 900
CELERY_TASK_SOFT_TIME_LIMIT = 840
CELERY_TASK_DEFAULT_QUEUE = "money"
# Celery would close the database connection after every task, which made most of a short task's cost. It is kept for
# this many tasks; config/celery.py looks before each task whether it is too old or broken, like Django does.
CELERY_DB_REUSE_MAX = 10_000
CELERY_TASK_CREATE_MISSING_QUEUES = False
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_SERIALIZER = CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = CELERY_RESULT_ACCEPT_CONTENT = ["json"]
CELERY_RESULT_BACKEND = "django-db"
CELERY_RESULT_EXTENDED = True
CELERY_RESULT_EXPIRES = 7 * 24 * 3600
CELERY_TASK_IGNORE_RESULT = True
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_TIMEZONE = "UTC"

# --- language and time -------------------------------------------------------------------------------------------
LANGUAGE_CODE = "en-us"
USE_I18N = True
TIME_ZONE = "UTC"
USE_TZ = True
FORMAT_MODULE_PATH = ["config.formats"]

# --- files -------------------------------------------------------------------------------------------------------
STATIC_URL = "static/"
# Only for a deployment that runs collectstatic and lets another server deliver the files.
STATIC_ROOT = environment.text("STATIC_ROOT", "") or None
# Serves the apps' own static files without a collectstatic step: one command starts a fresh machine.
WHITENOISE_USE_FINDERS = True
# Where usage events go before they leave the database: a folder on durable disks, or any storage of Django's kind,
# such as storages.backends.s3.S3Storage with {"bucket_name": "…"}.
USAGE_ARCHIVE_BACKEND = environment.text("USAGE_ARCHIVE_BACKEND", "metering.storage.DurableFolder")
USAGE_ARCHIVE_OPTIONS = environment.json_object(
    "USAGE_ARCHIVE_OPTIONS", default={"location": str(BASE_DIR / "usage-archive")}
)
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "usage_archive": {"BACKEND": USAGE_ARCHIVE_BACKEND, "OPTIONS": USAGE_ARCHIVE_OPTIONS},
}

# --- people ------------------------------------------------------------------------------------------------------
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

# --- what browsers are told --------------------------------------------------------------------------------------
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SERVED_OVER_HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600
SECURE_SSL_REDIRECT = SERVED_OVER_HTTPS and environment.boolean("DJANGO_HTTPS_REDIRECT", default=True)
SECURE_REDIRECT_EXEMPT = [r"^healthz$"]  # probes come from inside, over http
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if SERVED_OVER_HTTPS and not DEBUG else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = False  # the neighbours of this host are not ours to decide for
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if environment.boolean("DJANGO_BEHIND_PROXY", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        # unfold's Alpine evaluates its attributes. No page of ours or of the admin carries an inline script: text that
        # slips into a page stays text. Colours come as inline styles.
        "script-src": [SELF, "'unsafe-eval'"],
        "style-src": [SELF, "'unsafe-inline'"],
        "img-src": [SELF, "data:"],
        "font-src": [SELF, "data:"],
        "connect-src": [SELF],
        "worker-src": [SELF, "blob:"],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    },
}

# --- APIs --------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "config.api_keys.rest.ApiKeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["config.api_keys.rest.RequiresScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "config.problems.rest_exception_handler",
    "COERCE_DECIMAL_TO_STRING": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Boring Billing",
    "DESCRIPTION": "Usage in, explained and reconciled invoices out.",
    "VERSION": "1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "metering.api.schema.describe_ingest",
    ],
    "SERVE_PERMISSIONS": ["config.api_keys.rest.IsStaff"],
    "SERVE_AUTHENTICATION": ["rest_framework.authentication.SessionAuthentication"],
}
# How long an event's id is remembered, and so how old a new event may be: as long as it can be billed or disputed.
METERING_DEDUPE_HORIZON_DAYS = environment.integer(
    "METERING_DEDUPE_HORIZON_DAYS", default=396, at_least=1, at_most=3660
)
# How many events one correction may touch, and how many, of how many customers, one person may correct alone.
METERING_CORRECTION_MAX_EVENTS = environment.integer(
    "METERING_CORRECTION_MAX_EVENTS", default=100_000, at_least=1, at_most=1_000_000
)
METERING_CORRECTION_ALONE_EVENTS = environment.integer(
    "METERING_CORRECTION_ALONE_EVENTS", default=1_000, at_least=0, at_most=1_000_000
)
METERING_CORRECTION_ALONE_CUSTOMERS = environment.integer(
    "METERING_CORRECTION_ALONE_CUSTOMERS", default=10, at_least=0, at_most=1_000_000
)
# How long events stay in the database before they are archived; an id may not outlive its event's place here.
METERING_RETENTION_DAYS = environment.integer(
    "METERING_RETENTION_DAYS",
    default=max(396, METERING_DEDUPE_HORIZON_DAYS),
    at_least=METERING_DEDUPE_HORIZON_DAYS,
    at_most=36600,
)
# The ingest endpoint reads at most this many bytes; Django's own limit stays at its default everywhere else.
METERING_MAX_BODY_BYTES = environment.integer(
    "METERING_MAX_BODY_BYTES", default=4 * 1024 * 1024, at_least=1024, at_most=64 * 1024 * 1024
)
# What an API key may send, unless the key says otherwise: usage events a second, and at once after a pause.
API_KEY_EVENTS_PER_SECOND = environment.integer(
    "API_KEY_EVENTS_PER_SECOND", default=100_000, at_least=1, at_most=10_000_000
)
API_KEY_EVENTS_BURST = environment.integer("API_KEY_EVENTS_BURST", default=500_000, at_least=1, at_most=10_000_000)
# More requests with usage events than this at once in one web process are told to come back: 503.
INGEST_REQUESTS_AT_ONCE = environment.integer("INGEST_REQUESTS_AT_ONCE", default=32, at_least=1, at_most=1000)
# A statement of a web process waits this long for a lock, and runs this long, in seconds.
WEB_LOCK_TIMEOUT_SECONDS = environment.integer("WEB_LOCK_TIMEOUT_SECONDS", default=10, at_least=1, at_most=600)
WEB_STATEMENT_TIMEOUT_SECONDS = environment.integer(
    "WEB_STATEMENT_TIMEOUT_SECONDS", default=120, at_least=1, at_most=3600
)

# --- Stripe ------------------------------------------------------------------------------------------------------
STRIPE_API_VERSION = "2026-08-26.dahlia"
STRIPE_SECRET_KEY = environment.text("STRIPE_SECRET_KEY", "")
STRIPE_LIVE_MODE = STRIPE_SECRET_KEY.startswith(("sk_live_", "rk_live_"))
STRIPE_LIVE_SECRET_KEY = STRIPE_SECRET_KEY if STRIPE_LIVE_MODE else ""
STRIPE_TEST_SECRET_KEY = "" if STRIPE_LIVE_MODE else STRIPE_SECRET_KEY
# Empty means Stripe itself. dj-stripe takes STRIPE_API_HOST, when present, as the address of every call.
STRIPE_API_BASE = environment.address(
    "STRIPE_API_BASE", schemes=("http", "https"), default="", remedy="Leave it empty to reach Stripe itself."
)
if STRIPE_API_BASE:
    STRIPE_API_HOST = STRIPE_API_BASE
    SILENCED_SYSTEM_CHECKS = ["djstripe.W002"]  # a stand-in was asked for by name
    if STRIPE_LIVE_MODE and urlsplit(STRIPE_API_BASE).hostname != "api.stripe.com":
        environment.refuse("STRIPE_API_BASE", "would receive a live secret key", "Use an sk_test_ key with a stand-in.")
STRIPE_HTTP_CLIENT = environment.text("STRIPE_HTTP_CLIENT", "stripe.RequestsClient")
# Requests a second to Stripe, of all processes together. 0: what Stripe allows everybody (billing/stripe/budget.py).
STRIPE_REQUESTS_PER_SECOND = environment.integer("STRIPE_REQUESTS_PER_SECOND", default=0, at_least=0, at_most=100_000)
# What an event said is dropped so long after it was done. Its id stays, so that a repeat is still recognised.
STRIPE_EVENT_PAYLOAD_DAYS = environment.integer("STRIPE_EVENT_PAYLOAD_DAYS", default=90, at_least=30, at_most=3650)
DJSTRIPE_SUBSCRIBER_MODEL = "billing.Customer"
DJSTRIPE_FOREIGN_KEY_TO_FIELD = "id"
DJSTRIPE_SUBSCRIBER_CUSTOMER_KEY = ""  # never link a customer by Stripe metadata that anybody may edit

# --- logs: plain lines on stderr, without bodies, headers or addresses that carry passwords --------------------------
LOG_LEVEL = environment.text("LOG_LEVEL", "INFO").upper()
if LOG_LEVEL not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
    environment.refuse("LOG_LEVEL", "is no level", "Set it to DEBUG, INFO, WARNING or ERROR.")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        # At INFO and below these two would write request bodies and, with them, secrets.
        "stripe": {"level": "WARNING"},
        "django.db.backends": {"level": "WARNING"},
        "django": {"handlers": ["stderr"], "level": LOG_LEVEL, "propagate": False},
    },
}

# --- billing -----------------------------------------------------------------------------------------------------
# A worker that died in the middle of an event or of a close's step holds it no longer than this.
BILLING_LEASE_SECONDS = environment.integer("BILLING_LEASE_SECONDS", default=30, at_least=1, at_most=600)
# The dimension of usage that names a customer's member, where the customer's team has no other.
BILLING_MEMBER_DIMENSION = environment.text("BILLING_MEMBER_DIMENSION", "member")
# So long may money be on its way (payment to balance, payout to bank, refund owed) before reconciliation names it.
BILLING_CLEARING_DAYS = environment.integer("BILLING_CLEARING_DAYS", default=7, at_least=0, at_most=90)
# A bank line is a payout when it is booked within so many bank days (Monday to Friday) of the day Stripe expects it.
BILLING_BANK_DAYS = environment.integer("BILLING_BANK_DAYS", default=3, at_least=0, at_most=15)
# So many bank days after the day of its arrival a payout that no bank line confirms is named by reconciliation.
BILLING_BANK_CONFIRM_DAYS = environment.integer("BILLING_BANK_CONFIRM_DAYS", default=5, at_least=0, at_most=60)
# A bank line whose reference has one of these words is Stripe's, and has to be a payout.
BILLING_BANK_STRIPE_WORDS = environment.words("BILLING_BANK_STRIPE_WORDS", default="STRIPE")
# How long after the end of a period its usage may still arrive and be on the period's own invoice.
BILLING_CLOSE_GRACE_SECONDS = environment.integer("BILLING_CLOSE_GRACE_SECONDS", default=0, at_least=0, at_most=259200)
# So long a close waits for usage that is not counted yet; then it is held, and a person may let it go on without.
BILLING_CLOSE_WAIT_MAX_SECONDS = environment.integer(
    "BILLING_CLOSE_WAIT_MAX_SECONDS", default=21600, at_least=60, at_most=604800
)
# The gate before an invoice goes out: held is a total or usage beyond so many percent of the mean of the last three, by
# at least the amount of its currency, and so much at a price that is charged for the first time.
BILLING_GATE_PERCENT = environment.integer("BILLING_GATE_PERCENT", default=250, at_least=101, at_most=10000)
BILLING_GATE_AMOUNTS = environment.amounts("BILLING_GATE_AMOUNTS", default="USD=1000,EUR=1000,GBP=800,JPY=150000")
# From how much usage on no invoice, in an open period, an invoice is made before its end; it doubles with each one that
# was paid, five times at most. "none", or a currency that is not here: only at the period's end.
BILLING_THRESHOLDS = environment.amounts("BILLING_THRESHOLDS", default="none")
# Up to how much one person may move in the books by hand, for one customer on one day, without a second person. A
# currency that is not here always needs two.
MANUAL_ENTRY_LIMITS = environment.amounts("MANUAL_ENTRY_LIMITS", default="USD=250,EUR=250,GBP=200,JPY=40000")

# --- e-mail to customers and to finance ------------------------------------------------------------------------------
# Without a mail server they are written as files, which is what the demo and a first look want.
EMAIL_HOST = environment.text("EMAIL_HOST", "")
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if EMAIL_HOST else 'filebased'}.EmailBackend"
EMAIL_FILE_PATH = environment.text("EMAIL_FILE_PATH", str(BASE_DIR / ".emails"))
EMAIL_PORT = environment.integer("EMAIL_PORT", default=587, at_least=1, at_most=65535)
EMAIL_HOST_USER = environment.text("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD = environment.text("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS = environment.boolean("EMAIL_USE_TLS", default=True)
EMAIL_TIMEOUT = 20
DEFAULT_FROM_EMAIL = environment.text("EMAIL_FROM", "billing@example.com")
# Where deadlines of disputes are told; empty: only on the overview.
BILLING_FINANCE_EMAIL = environment.text("BILLING_FINANCE_EMAIL", "")
