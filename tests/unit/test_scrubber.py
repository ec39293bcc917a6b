"""Values that are hidden by their names, and others with similar names that are not."""

from __future__ import annotations

import pytest

from autoinstrument.clone_run.command_line import overrides
from autoinstrument.scrubber import (
    MASK,
    hide_in_arguments,
    hide_in_json,
    hide_in_settings,
    hide_in_text,
    hide_named,
    hint,
    is_secret,
    without_credentials,
)


@pytest.mark.parametrize(
    "name",
    [
        "password", "passwd", "db_password", "DB-PASSWORD", "--password", "token", "hf_token", "HF_TOKEN", "hfToken",
        "auth.token", "secret", "client_secret", "api_key", "apikey", "api-key", "openaiApiKey", "access_key",
        "aws_access_key_id", "credential", "credentials_file", "private_key", "passphrase",
    ],
)  # fmt: skip
def test_names_of_secrets(name):
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "tokens", "max_tokens", "num_tokens", "tokenizer", "tokenizer_name", "pad_token", "eos_token", "mask_token",
        "token_dim", "maxTokens", "lr", "pass", "passes", "keys", "key", "monkey", "accessory", "image_token", "",
    ],
)  # fmt: skip
def test_names_that_are_not_secret(name):
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pg://u:p@host/db", "pg://u:********@host/db"),
        ("see http://a:b@c and http://d:e@f", "see http://a:********@c and http://d:********@f"),
        ("http://host:8080/a@b", "http://host:8080/a@b"),
        ("a:b@c", "a:b@c"),
        ("https://ghp_0123456789abcdef@github.com/a", "https://********@github.com/a"),
        ("https://somebody@github.com/a", "https://somebody@github.com/a"),
        ("s3+https://h/a?X-Amz-Signature=abc&v=1", "s3+https://h/a?X-Amz-Signature=********&v=1"),
        ("http://h/?api_key=k1&max_tokens=5", "http://h/?api_key=********&max_tokens=5"),
        ("Authorization: Bearer abcdefgh12345", "Authorization: Bearer ********"),
        ("token=5", "token=5"),
        ("pg://u:a/b#c?d@host/db", "pg://u:********@host/db"),
        ("pg://u:12/34@host/db", "pg://u:********@host/db"),
        ("pg://u:p@ss@host/db,", "pg://u:********@host/db,"),
        ("https://u:p/w@host/a", "https://u:********@host/a"),
        ("git+https://u:p@host/a and ssh://host:22/a@b", "git+https://u:********@host/a and ssh://host:22/a@b"),
    ],
)
def test_passwords_of_urls_are_hidden(text, shown):
    assert hide_in_text(text) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@host/a", "https://host/a"),
        ("https://u@b.c:p@host/a@1", "https://host/a@1"),
        ("ssh://git:p@host/a", "ssh://git@host/a"),
        ("git@host:a.git", "git@host:a.git"),
        ("/srv/a.git", "/srv/a.git"),
        ("file:///srv/a.git", "file:///srv/a.git"),
        ("http://host:8080/a@b", "http://host:8080/a@b"),
        ("ssh://git@host:22/a@b", "ssh://git@host:22/a@b"),
        ("abfss://box@account.net/a", "abfss://box@account.net/a"),
        ("postgresql://ml:S3cr/et#x@db/mlflow", "postgresql://db/mlflow"),
        ("mysql+pymysql://u:p?w@db:3306/a?charset=utf8", "mysql+pymysql://db:3306/a?charset=utf8"),
        ("pg://u:p@ss@db/a", "pg://db/a"),
        ("sqlite:////srv/a:b@c.db", "sqlite:////srv/a:b@c.db"),
        ("https://host/a.zip?X-Amz-Signature=x&v=1#sha256=2", "https://host/a.zip?v=1#sha256=2"),
    ],
)
def test_credentials_of_urls_are_stripped(url, shown):
    assert without_credentials(url) == shown


@pytest.mark.timeout(60)
def test_long_texts_are_read_in_a_moment():
    """A regular expression that goes back at each letter takes minutes for them."""
    for text in ("x" * 300_000 + "://a:b@", "tcp://h:1," * 30_000 + "@", "a://b:" * 30_000):
        hide_in_text(text)
        without_credentials(text)
    for text in ("\\" * 65_000, "'password': {" * 5_000, " " * 65_000, "password:" * 8_000):
        hide_in_settings(text)
        hide_named("x", text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("['db.password=x', 'lr=0.1']", "['db.password=********', 'lr=0.1']"),
        ("pad_token=<pad> hf_token=x", "pad_token=<pad> hf_token=********"),
        ("pg://u:p@h/db", "pg://u:********@h/db"),
        ("Namespace(lr=0.1, hf_token='a b', out='x')", "Namespace(lr=0.1, hf_token=********, out='x')"),
    ],
)
def test_pairs_of_a_command_line_are_hidden(text, shown):
    assert hide_in_arguments(text) == shown


def test_a_value_is_hidden_by_its_name():
    assert hide_named("api_key", "x") == MASK
    assert hide_named("api_key", "") == ""
    assert hide_named("url", "pg://u:p@h") == "pg://u:********@h"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("{'user': 'u', 'password': 'p'}", "{'user': 'u', 'password': '********'}"),
        ("[{'api_key': \"it's\", 'a': 1}]", "[{'api_key': '********', 'a': 1}]"),
        ("{'db': {'password': None, 'token': ''}}", "{'db': {'password': None, 'token': ''}}"),
        ("{'max_tokens': 5, 'pad_token': '<pad>'}", "{'max_tokens': 5, 'pad_token': '<pad>'}"),
        ('{"hf_token": 12, "a": 1}', '{"hf_token": "********", "a": 1}'),
    ],
)
def test_a_dictionary_is_searched_for_names(value: str, shown: str) -> None:
    """As `mlflow.log_params` makes a text of a nested configuration."""
    assert hide_named("db", value) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("db:\n  password: s3cret\n  host: h\n", "db:\n  password: ********\n  host: h\n"),
        ("- api_key: 'a b'\r\n", "- api_key: ********\r\n"),
        ('hf_token = "x"\nlr = 0.1', "hf_token = ********\nlr = 0.1"),
        ("export OPENAI_API_KEY=sk-1\n", "export OPENAI_API_KEY=********\n"),
        ("credentials:\n  user: u\nsecret: ${oc.env:X}\n", "credentials:\n  user: u\nsecret: ********\n"),
        ("password:\n  x: 1\n", "password:\n  x: 1\n"),
        ('{"password": "x",\n "lr": 1}', '{"password": "********",\n "lr": 1}'),
        ("uri: pg://u:p@h/db\n", "uri: pg://u:********@h/db\n"),
        ("max_tokens: 5\n# password\n", "max_tokens: 5\n# password\n"),
    ],
)
def test_a_file_of_settings(text: str, shown: str) -> None:
    assert hide_in_settings(text) == shown


def test_a_hint_gives_nothing_away():
    assert hint("ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "ABCD…"
    assert hint("short") == MASK


def test_hydra_keeps_its_own_value_where_a_clone_has_the_mask():
    assert overrides({"db.password": MASK, "lr": "0.1"}) == ["lr=0.1"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"question": "q", "api_key": "sk-1"}', '{"question": "q", "api_key": "********"}'),
        ('{"a": [{"password": {"x": "sk-1"}}]}', '{"a": [{"password": "********"}]}'),
        ('{"arguments": "{\\"api_key\\": \\"sk-1\\"}"}', '{"arguments": "{\\"api_key\\": \\"********\\"}"}'),
        ('[{"content": "see https://u:sk-1@h/x"}]', '[{"content": "see https://u:********@h/x"}]'),
        ("token=sk-1 and more", "token=******** and more"),
    ],
)
def test_json(text: str, shown: str) -> None:
    assert hide_in_json(text) == shown


@pytest.mark.parametrize("text", ['{"a": 1.50,  "max_tokens": 5}', '"answer"', "plain text", "[1, 2", '{"a": null', ""])
def test_json_without_secrets_is_unchanged(text: str) -> None:
    assert hide_in_json(text) == text


@pytest.mark.parametrize(
    "secret",
    [
        '{"q": "x", "api_key": "sk-1", "z": "y',
        '{"api_key": "sk-1',
        '{"api_key": {"a": "b", "c": "sk-1',
        '{"x": "{\\"api_key\\": \\"sk-1\\"}", "y": "z',
        '{"api_key": ["a", "sk-1"',
        '{"api_key": "a\\"sk-1", "z": "',
    ],
)
def test_json_that_was_cut_short(secret: str) -> None:
    """Previews of MLflow end after a thousand characters."""
    shown = hide_in_json(secret)
    assert "sk-1" not in shown
    assert MASK in shown
    assert shown.startswith(secret[: secret.index("api_key")])
