"""Receivers of alerts: each kind is read, and each mistake is told with its remedy."""

from __future__ import annotations

import pytest

SPEC = "model_spec:\n  name: churn\n  monitoring:\n    alerts:\n"
MAIL = "email: [a@example.org], from: b@example.org"


@pytest.mark.parametrize(
    ("receiver", "said"),
    [
        ("{}", "an alert goes nowhere"),
        ("{webhook: 'https://a.example', slack: 'https://b.example'}", "has both webhook and slack"),
        ("{webhook: 'ftp://a.example'}", "is not an http or https URL"),
        ("{webhook: 'https://user:word@a.example'}", "password"),
        ("{webhook: 'https://a.example', token: word}", "a secret is written out"),
        ("{slack: 'https://a.example', secret: '${env:X}'}", "secret has no effect on slack"),
        (f"{{{MAIL}}}", "email needs smtp"),
        (f"{{{MAIL}, smtp: 'smtps://m.example', user: u}}", "user and password belong together"),
        (f"{{{MAIL}, smtp: 'smtp+plain://m.example', user: u, password: '${{env:P}}'}}", "without TLS"),
        (f"{{{MAIL}, smtp: 'http://m.example'}}", "is not the address of a mail server"),
        ("{email: [nobody], from: b@example.org, smtp: 'smtps://m.example'}", "is not an e-mail address"),
        ('{email: ["a@b.c\\nBcc: x@y.z"], from: b@example.org, smtp: "smtps://m.example"}', "is not an e-mail address"),
        ("{slack: 'https://a.example', template: '${sumary}'}", "${sumary} refers to nothing"),
        ("{slack: 'https://a.example', template: '${env:SECRET}'}", "${env:SECRET} refers to nothing"),
        ("{slack: 'https://a.example', title: '$'}", "$ refers to nothing"),
        ("{alertmanager: 'http://127.0.0.1:9093', interval: 1m}", "interval has no effect on alertmanager"),
        ("{command: 'notify ${env:TOKEN}'}", "$"),
        ("{webhook: 'https://a.example', limit: often}", "is not a budget"),
    ],
)
def test_each_mistake_is_told(mistakes, receiver: str, said: str) -> None:  # type: ignore[no-untyped-def]
    found = mistakes(f"{SPEC}      - {receiver}\n")
    assert any(said in each.message for each in found), [each.message for each in found]
    assert all(each.line == 5 for each in found)


def test_names_tell_receivers_apart(load, mistakes) -> None:  # type: ignore[no-untyped-def]
    two = "      - {webhook: 'https://a.example'}\n      - {webhook: 'https://b.example'}\n"
    assert any("alerts has webhook twice" in each.message for each in mistakes(SPEC + two))
    named = load(SPEC + two.replace("{webhook", "{name: other, webhook", 1)).document["monitoring"]["alerts"]
    assert [each["name"] for each in named] == ["other", None]
    assert named[0]["limit"] == {"count": 20, "period": 3600}
