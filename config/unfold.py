"""
How the admin looks: its name, its colours, and a sidebar grouped by the words people use.

An entry of the sidebar is shown to those who may open it; `config.roles` says who that is.
"""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy


def _may(permission: str) -> Callable[[HttpRequest], bool]:
    def has_permission(request: HttpRequest) -> bool:
        return request.user.has_perm(permission)

    return has_permission


def _list_of(model: str, title: str, icon: str) -> dict[str, Any]:
    """A sidebar entry that opens the list of a model, such as "billing.customer"."""
    app_label, model_name = model.split(".")
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app_label}_{model_name}_changelist"),
        "permission": _may(f"{app_label}.view_{model_name}"),
    }


def _report(name: str, title: str, icon: str) -> dict[str, Any]:
    """A sidebar entry that opens one of finance's reports."""
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"reports:{name}"),
        "permission": _may("billing.view_financereport"),
    }


def _shows_accounts(request: HttpRequest) -> bool:
    """The trial balance lies below the accounts' address, and has an entry of its own."""
    is_below = request.path.startswith(str(reverse_lazy("admin:ledger_account_changelist")))
    return is_below and request.path != str(reverse_lazy("admin:ledger_trial_balance"))


def _shows_windows(request: HttpRequest) -> bool:
    """Usage and conservation lie below the windows' address, and have entries of their own."""
    below = str(reverse_lazy("admin:metering_aggregationwindow_changelist"))
    rest = request.path.removeprefix(below) if request.path.startswith(below) else "usage"
    return not rest.startswith(("usage", "customers/", "conservation"))


def _styles(request: HttpRequest) -> str:
    return static("billing/admin.css")


def _icon(request: HttpRequest) -> str:
    return static("billing/favicon.svg")


NAVIGATION = [
    {
        "title": "",
        "items": [{"title": "Overview", "icon": "monitoring", "link": reverse_lazy("admin:index")}],
    },
    {
        "title": "Customers",
        "items": [
            _list_of("billing.customer", "Customers", "groups"),
            _list_of("billing.subscription", "Subscriptions", "autorenew"),
            _list_of("billing.billingperiod", "Billing periods", "date_range"),
            _list_of("billing.billinggroup", "Billing groups", "account_tree"),
            _list_of("billing.member", "Members", "badge"),
            _list_of("billing.teamchange", "Team changes", "manage_history"),
        ],
    },
    {
        "title": "Usage",
        "items": [
            {
                "title": "Usage",
                "icon": "bar_chart",
                "link": reverse_lazy("admin:metering_usage"),
                "permission": _may("metering.view_aggregationwindow"),
            },
            _list_of("metering.usageevent", "Events", "bolt"),
            {**_list_of("metering.aggregationwindow", "Windows", "view_timeline"), "active": _shows_windows},
            {
                "title": "Conservation",
                "icon": "verified",
                "link": reverse_lazy("admin:metering_conservation"),
                "permission": _may("metering.view_aggregationadvance"),
            },
            _list_of("metering.quarantinedevent", "Quarantine", "report"),
            _list_of("metering.eventconflict", "Conflicts", "call_split"),
            _list_of("metering.correction", "Corrections", "healing"),
            _list_of("metering.importrun", "Imports", "upload_file"),
            _list_of("metering.meter", "Meters", "speed"),
            _list_of("metering.windowrepair", "Window repairs", "build"),
            _list_of("metering.alarm", "Alarms", "notifications_active"),
            _list_of("metering.freshnesscount", "Lag", "timer"),
            _list_of("metering.eventarchive", "Months", "archive"),
            _list_of("billing.usageaccrual", "Accruals", "calculate"),
        ],
    },
    {
        "title": "Ledger",
        "items": [
            {**_list_of("ledger.account", "Accounts", "account_balance"), "active": _shows_accounts},
            _list_of("ledger.journalentry", "Journal", "menu_book"),
            _list_of("billing.manualentry", "Manual entries", "edit_note"),
            {
                "title": "Trial balance",
                "icon": "balance",
                "link": reverse_lazy("admin:ledger_trial_balance"),
                "permission": _may("ledger.view_account"),
            },
            _list_of("ledger.periodclosing", "Periods", "event_available"),
            _list_of("ledger.seal", "Seals", "verified_user"),
        ],
    },
    {
        "title": "Reports",
        "items": [
            _report("ageing", "Ageing", "hourglass_bottom"),
            _report("credit", "Credit", "savings"),
            _report("income", "Revenue", "query_stats"),
        ],
    },
    {
        "title": "Promotions",
        "items": [_list_of("promotions.creditgrant", "Credit grants", "redeem")],
    },
    {
        "title": "Invoices & payments",
        "items": [
            _list_of("billing.invoice", "Invoices", "receipt_long"),
            _list_of("billing.invoicerequest", "Requests", "approval"),
            _list_of("billing.invoiceorder", "Orders", "post_add"),
            _list_of("billing.creditnote", "Credit notes", "undo"),
            _list_of("billing.lateusage", "Late usage", "schedule"),
            _list_of("billing.meteredevent", "Meter events", "speed"),
            _list_of("billing.meteredshortfall", "Usage left off invoices", "running_with_errors"),
            _list_of("billing.absorbedusage", "Absorbed usage", "water_drop"),
            _list_of("billing.invoiceclose", "Closes", "lock_clock"),
            _list_of("billing.payment", "Payments", "payments"),
            _list_of("billing.recoverycase", "Recovery", "support"),
            _list_of("billing.recoverypolicy", "Recovery policies", "policy"),
            _list_of("billing.message", "E-mails", "mail"),
            _list_of("billing.refundrequest", "Refund requests", "assignment_return"),
            _list_of("billing.refundbatch", "Refund batches", "library_add_check"),
            _list_of("billing.refund", "Refunds", "undo"),
            _list_of("billing.dispute", "Disputes", "gavel"),
            _list_of("billing.payout", "Payouts", "savings"),
            _list_of("billing.bankaccount", "Bank accounts", "account_balance"),
            _list_of("billing.bankstatement", "Bank statements", "request_quote"),
            _list_of("billing.bankline", "Bank lines", "table_rows"),
            _list_of("billing.bankmatch", "Bank matches", "join_inner"),
            _list_of("billing.balancetransaction", "Stripe balance", "account_balance_wallet"),
            _list_of("billing.customerbalancetransaction", "Customer balances", "balance"),
        ],
    },
    {
        "title": "Prices",
        "items": [
            _list_of("billing.plan", "Plans", "inventory_2"),
            _list_of("billing.planversion", "Versions", "history_edu"),
            _list_of("billing.ratecard", "Rate cards", "sell"),
            {
                "title": "Simulator",
                "icon": "compare",
                "link": reverse_lazy("simulator:show"),
                "permission": _may("billing.simulate_planversion"),
            },
            _list_of("billing.backtest", "Backtests", "history"),
            _list_of("billing.shadowrating", "Shadow ratings", "contrast"),
            _list_of("billing.approvalrequest", "Approvals", "how_to_reg"),
            _list_of("billing.rollout", "Rollouts", "moving"),
        ],
    },
    {
        "title": "Stripe",
        "items": [
            _list_of("billing.inboxevent", "Inbox", "inbox"),
            _list_of("billing.inboxreplay", "Replays", "replay"),
            _list_of("billing.pollposition", "Polling", "sync_problem"),
            _list_of("billing.outboxintent", "Outbox", "outbox"),
            _list_of("billing.takeover", "Takeover", "move_down"),
        ],
    },
    {
        "title": "Reconciliation",
        "items": [
            _list_of("billing.reconciliationrun", "Runs", "fact_check"),
            _list_of("billing.discrepancy", "Discrepancies", "rule"),
        ],
    },
    {
        "title": "People",
        "items": [
            _list_of("auth.user", "Users", "person"),
            _list_of("auth.group", "Roles", "shield_person"),
            _list_of("config.apikey", "API keys", "key"),
        ],
    },
]

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Boring Billing",
    "SITE_HEADER": "Boring Billing",
    "SITE_SUBHEADER": "Usage in, explained invoices out",
    "SITE_SYMBOL": "receipt_long",
    "SITE_URL": None,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": True,
    "BORDER_RADIUS": "8px",
    "DASHBOARD_CALLBACK": "billing.overview.add_figures",
    "SITE_FAVICONS": [{"rel": "icon", "sizes": "any", "type": "image/svg+xml", "href": _icon}],
    "STYLES": [_styles],
    "COLORS": {
        # A quiet petrol: green, orange and red are kept for paid, waiting and past due.
        "primary": {
            "50": "oklch(97.7% .013 220)",
            "100": "oklch(94.9% .028 220)",
            "200": "oklch(89.7% .052 220)",
            "300": "oklch(82.3% .082 220)",
            "400": "oklch(71.5% .105 221)",
            "500": "oklch(60.9% .104 222)",
            "600": "oklch(51.5% .092 223)",
            "700": "oklch(44.6% .078 224)",
            "800": "oklch(38.5% .064 225)",
            "900": "oklch(33.5% .053 226)",
            "950": "oklch(25.5% .042 227)",
        },
    },
    "SIDEBAR": {"show_search": False, "show_all_applications": False, "navigation": NAVIGATION},
}
