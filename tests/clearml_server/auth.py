"""Login, and the small calls around it (01_auth)."""

from __future__ import annotations

from .envelope import API_VERSION, SERVER_VERSION, Doc
from .registry import Call, endpoint
from .schema import REQUIRED_STR, Field
from .state import State

_YEAR_S = 31_536_000


@endpoint("auth.login", {"expiration_sec": Field("int", maximum=_YEAR_S)})
def login(state: State, call: Call) -> Doc:
    identity = {
        "role": "user",
        "company": state.company,
        "company_name": state.company_name,
        "user": state.user,
        "user_name": state.user_name,
    }
    return {"token": state.credentials.token(identity, call.data.get("expiration_sec"))}


@endpoint("auth.validate_token", {"token": REQUIRED_STR}, roles="system, root")
def validate_token(state: State, call: Call) -> Doc:
    raise AssertionError("refused for the role of every user")


@endpoint("server.config", roles="root, system")
def server_config(state: State, call: Call) -> Doc:
    raise AssertionError("refused for the role of every user")


@endpoint("server.info", version="2.12")
def server_info(state: State, call: Call) -> Doc:
    return {"version": SERVER_VERSION, "build": "", "commit": "", "api_version": API_VERSION}


@endpoint("debug.ping", public=True)
def ping(state: State, call: Call) -> Doc:
    return {"msg": "ClearML server"}


@endpoint("login.supported_modes", public=True)
def supported_modes(state: State, call: Call) -> Doc:
    return {
        "authenticated": False,
        "basic": {"enabled": False, "guest": {"enabled": False}},
        "server_errors": {"es_connection_error": False, "missed_es_upgrade": False},
        "sso": {},
        "sso_providers": [],
    }


@endpoint("users.get_current_user")
def get_current_user(state: State, call: Call) -> Doc:
    return {
        "user": {
            "company": {"id": state.company, "name": state.company_name},
            "created": state.created,
            "id": state.user,
            "name": state.user_name,
            "role": "user",
        },
        "getting_started": {
            "agentName": "clearml",
            "configure": "clearml-init",
            "install": "pip install clearml",
            "packageName": "clearml",
        },
        "settings": {"max_download_items": 50000},
    }


@endpoint("users.get_all")
def get_all_users(state: State, call: Call) -> Doc:
    return {"users": [{"id": state.user, "name": state.user_name}]}


@endpoint("organization.get_tags")
def get_tags(state: State, call: Call) -> Doc:
    """Tags of all tasks, models and queues, sorted."""
    documents = [*state.tasks.values(), *state.models.values(), *state.queues.values()]
    return {"tags": sorted({tag for document in documents for tag in document["tags"]})}
