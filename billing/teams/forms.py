"""
What can be done with a team in the admin: each verb with its form and its one call of an operation.

A preview carries the operation out in a transaction and takes it back: what it says is what will be done.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.db import transaction
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from billing.customers.models import Customer
from billing.teams import operations as teams
from billing.teams import seats
from billing.teams.correcting import correct_group
from billing.teams.models import BillingGroup, TeamChange, TeamPolicy
from billing.teams.policy import latest_dimension, set_policy
from billing.teams.roster import MEMBERS_MAX, UNCHANGED, RosterEntry

CHANGE, CORRECT = "billing.edit_team", "billing.correct_team"
_PREFIX = "admin-team"
AS_IT_IS = "="


class _Undo(Exception):
    """Takes back what a preview did."""


class _Moment(forms.DateTimeInput):
    """The browser's own picker; what it sends is read as UTC, as everything in the admin is."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(attrs={"class": "bb-input", "step": "1"}, format="%Y-%m-%dT%H:%M:%S")


def _text(*, most: int, required: bool = True, help_text: str = "", label: str | None = None) -> forms.CharField:
    return forms.CharField(
        max_length=most, required=required, help_text=help_text, label=label, widget=UnfoldAdminTextInputWidget
    )


def _keys_field() -> forms.CharField:
    return forms.CharField(
        label="Members",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 6}),
        help_text="One member key a line, as usage has it.",
    )


class TeamForm(forms.Form):
    """What all verbs ask for beside their own fields."""

    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *args: Any, customer: Customer, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.customer = customer
        for name, field in self._common().items():
            self.fields[name] = field
        if "group" in self.fields:
            groups = BillingGroup.objects.filter(customer=customer, closed_at=None).values_list("code", "name")
            shown = [(code, f"{name} ({code})") for code, name in groups]
            first = [(AS_IT_IS, "As it is")] if self.keeps_group else []
            none = [("", "None: unassigned")] if self.takes_none else []
            group = self.fields["group"]
            assert isinstance(group, forms.ChoiceField)
            group.choices = [*first, *none, *shown]

    keeps_group: ClassVar[bool] = False
    takes_none: ClassVar[bool] = False
    is_dated: ClassVar[bool] = True

    def _common(self) -> dict[str, forms.Field]:
        found: dict[str, forms.Field] = {}
        if self.is_dated:
            found["effective_at"] = forms.DateTimeField(
                label="From (UTC)", required=False, widget=_Moment, help_text="Empty: from now on. Never in the past."
            )
        found["reason"] = forms.CharField(
            max_length=500,
            widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
            help_text="Why, for whoever asks later.",
        )
        found["idempotency_key"] = forms.RegexField(
            regex=rf"^{_PREFIX}:[0-9a-f-]{{36}}$", widget=forms.HiddenInput, initial=lambda: f"{_PREFIX}:{uuid.uuid4()}"
        )
        return found

    def keys(self) -> list[str]:
        """The member keys, each once, in the order given."""
        lines = (line.strip() for line in self.cleaned_data["members"].splitlines())
        return list(dict.fromkeys(line for line in lines if line))


class AddMembers(TeamForm):
    keeps_group = takes_none = True
    members = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 6}),
        help_text=f"One a line: key, name, e-mail. What is left out stays as it is. At most {MEMBERS_MAX:,}.",
    )
    group = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)
    takes_seat = forms.BooleanField(required=False, initial=True, label="Each takes a seat of the plan")

    def entries(self) -> list[RosterEntry]:
        """The people named, each with the group that was chosen."""
        group: Any = UNCHANGED if self.cleaned_data["group"] == AS_IT_IS else self.cleaned_data["group"] or None
        found = []
        for line in self.cleaned_data["members"].splitlines():
            if line.strip():
                key, name, email = (part.strip() for part in (*line.split(",", 2), "", "")[:3])
                takes = self.cleaned_data["takes_seat"]
                told = {"name": name or UNCHANGED, "email": email or UNCHANGED, "group": group}
                found.append(RosterEntry(key=key, takes_seat=takes, **told))
        return found


class Keys(TeamForm):
    members = _keys_field()


class Move(TeamForm):
    takes_none = True
    members = _keys_field()
    group = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)


class OpenGroup(TeamForm):
    is_dated = False
    code = _text(most=64, help_text="Letters, digits, dots, dashes, underscores. It never changes.")
    name = _text(most=200)
    budget_code = _text(most=100, required=False, label="Cost centre")


class ChangeGroup(TeamForm):
    is_dated = False
    group = forms.ChoiceField(widget=UnfoldAdminSelectWidget)
    name = _text(most=200)
    budget_code = _text(most=100, required=False, label="Cost centre")


class CloseGroup(TeamForm):
    group = forms.ChoiceField(widget=UnfoldAdminSelectWidget)


class CorrectGroup(TeamForm):
    is_dated = False
    takes_none = True
    member = _text(most=200, help_text="The member's key.")
    group = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget, label="Was in")
    starts_at = forms.DateTimeField(label="From (UTC)", widget=_Moment)
    ends_at = forms.DateTimeField(label="Until (UTC), not included", widget=_Moment)


class Policy(TeamForm):
    is_dated = False
    seats_follow_members = forms.BooleanField(
        required=False,
        label="Seats follow members",
        help_text="Missing seats are bought at once, prorated; spare ones are given back with the next period.",
    )
    member_dimension = _text(
        most=64,
        required=False,
        help_text="The dimension of usage that names the member. Empty: as it is. Another one counts for periods that"
        " start after this hour.",
    )


@dataclass(frozen=True, slots=True)
class Verb:
    """`carry_out` gets the customer, the valid form, and who, why, when as keywords."""

    title: str
    button: str
    form: type[TeamForm]
    carry_out: Callable[[str, Any, Mapping[str, Any]], TeamChange]
    permission: str = CHANGE


def _dated(form: TeamForm, by: Mapping[str, Any]) -> dict[str, Any]:
    return {**by, "effective_at": form.cleaned_data["effective_at"]}


def _field(form: TeamForm, name: str) -> Any:
    return form.cleaned_data[name]


VERBS: Mapping[str, Verb] = {
    "add": Verb(
        "Add members",
        "Add them",
        AddMembers,
        lambda key, form, by: teams.add_members(customer_key=key, members=form.entries(), **_dated(form, by)),
    ),
    "remove": Verb(
        "Remove members",
        "Remove them",
        Keys,
        lambda key, form, by: teams.remove_members(customer_key=key, member_keys=form.keys(), **_dated(form, by)),
    ),
    "move": Verb(
        "Move members",
        "Move them",
        Move,
        lambda key, form, by: teams.move_members(
            customer_key=key, member_keys=form.keys(), group_code=_field(form, "group") or None, **_dated(form, by)
        ),
    ),
    "assign": Verb(
        "Assign seats",
        "Assign them",
        Keys,
        lambda key, form, by: seats.assign_seats(customer_key=key, member_keys=form.keys(), **_dated(form, by)),
    ),
    "release": Verb(
        "Release seats",
        "Release them",
        Keys,
        lambda key, form, by: seats.release_seats(customer_key=key, member_keys=form.keys(), **_dated(form, by)),
    ),
    "open-group": Verb(
        "Open a group",
        "Open it",
        OpenGroup,
        lambda key, form, by: teams.open_group(
            customer_key=key,
            code=_field(form, "code"),
            name=_field(form, "name"),
            budget_code=_field(form, "budget_code"),
            **by,
        ),
    ),
    "change-group": Verb(
        "Rename a group",
        "Rename it",
        ChangeGroup,
        lambda key, form, by: teams.change_group(
            customer_key=key,
            code=_field(form, "group"),
            name=_field(form, "name"),
            budget_code=_field(form, "budget_code"),
            **by,
        ),
    ),
    "close-group": Verb(
        "Close a group",
        "Close it",
        CloseGroup,
        lambda key, form, by: teams.close_group(customer_key=key, code=_field(form, "group"), **_dated(form, by)),
    ),
    "correct": Verb(
        "Correct a group for the past",
        "Correct it",
        CorrectGroup,
        lambda key, form, by: correct_group(
            customer_key=key,
            member_key=_field(form, "member"),
            group_code=_field(form, "group") or None,
            starts_at=_field(form, "starts_at"),
            ends_at=_field(form, "ends_at"),
            **by,
        ),
        CORRECT,
    ),
    "policy": Verb(
        "Seats and members",
        "Set it",
        Policy,
        lambda key, form, by: set_policy(
            customer_key=key,
            seats_follow_members=_field(form, "seats_follow_members"),
            member_dimension=_field(form, "member_dimension"),
            **by,
        ),
    ),
}


def first_values(customer: Customer, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a form begins with: the policy as it stands, and what the address names."""
    policy = TeamPolicy.objects.filter(customer=customer).first()
    values: dict[str, Any] = {name: asked[name] for name in ("group", "member", "members") if asked.get(name)}
    values["member_dimension"] = latest_dimension(customer)
    if policy is not None:
        values["seats_follow_members"] = policy.seats_follow_members
    group = BillingGroup.objects.filter(customer=customer, code=values.get("group", "")).first()
    if group is not None:
        values["name"], values["budget_code"] = group.name, group.budget_code
    return {"takes_seat": True, **values}


def preview(verb: Verb, form: TeamForm, *, actor: str, now: datetime) -> dict[str, Any]:
    """Return what it would do, having taken it back. Raises TeamErrors."""
    outcome: dict[str, Any] = {}
    try:
        with transaction.atomic():
            outcome = carry_out(verb, form, actor=actor, now=now).outcome
            raise _Undo
    except _Undo:
        return outcome


def carry_out(verb: Verb, form: TeamForm, *, actor: str, now: datetime) -> TeamChange:
    """Do it. Raises TeamErrors."""
    by = {
        "actor": actor,
        "reason": form.cleaned_data["reason"],
        "idempotency_key": form.cleaned_data["idempotency_key"],
        "now": now,
    }
    return verb.carry_out(form.customer.customer_key, form, by)


def hidden(form: TeamForm) -> TeamForm:
    """The same values once more, in a form whose every field is hidden."""
    values = {name: "" if value is None else value for name, value in form.cleaned_data.items()}
    fixed = type(form)(customer=form.customer, initial=values)
    for field in fixed.fields.values():
        field.widget = forms.HiddenInput() if not isinstance(field, forms.CharField) else _HiddenText()
    return fixed


class _HiddenText(forms.HiddenInput):
    """Keeps the line breaks of a list of members: an input of one line drops them, so it is a hidden area."""

    template_name = "django/forms/widgets/textarea.html"
    input_type = ""

    def __init__(self) -> None:
        super().__init__(attrs={"hidden": True})
