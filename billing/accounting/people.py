"""What the person behind an actor may do now. A manual entry is asked for and decided by people, never by a service."""

from django.contrib.auth import get_user_model

_PERSON = "user:"


def may(actor: str, permission: str) -> bool:
    """Whether the actor is a person who is active and holds the permission, such as may("user:fiona", "app.verb")."""
    if not actor.startswith(_PERSON):
        return False
    person = get_user_model().objects.filter(username=actor.removeprefix(_PERSON)).first()
    return person is not None and person.has_perm(permission)
