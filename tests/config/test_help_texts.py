"""Help texts are HTML to Django's admin: what stands in angle brackets would be taken for a tag and vanish."""

from django import forms
from django.apps import apps

OURS = ("billing", "config", "ledger", "metering", "promotions")


def test_no_help_text_loses_a_word() -> None:
    texts = {
        f"{model.__name__}.{field.name}": str(getattr(field, "help_text", ""))
        for model in apps.get_models()
        if model.__module__.startswith(OURS)
        for field in model._meta.get_fields()
    }
    for form in _all_forms(forms.BaseForm):
        if form.__module__.startswith(OURS):
            fields = getattr(form, "base_fields", {})
            texts |= {f"{form.__name__}.{name}": str(field.help_text) for name, field in fields.items()}

    assert len([text for text in texts.values() if text]) > 300
    assert {name: text for name, text in texts.items() if "<" in text or ">" in text} == {}


def _all_forms(form: type[forms.BaseForm]) -> set[type[forms.BaseForm]]:
    return {form}.union(*(_all_forms(below) for below in form.__subclasses__()))
