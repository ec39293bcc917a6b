"""Make MLflow's stores cheap, where each test has its own.

Apart from MLflow and SQLAlchemy it uses the standard library only: the fork server imports it in the scripts'
environment.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any


def make_stores_cheap() -> None:
    """Let a store neither read all migrations, nor wait for the disk, nor prepare what another one has prepared.

    Reading migrations, to know the newest, takes 0.04 s of CPU time (mlflow 2.16 to 3.17), compiling a statement 1 ms;
    a commit that has not reached the disk is lost only if the machine loses power. MLflow sets three pragmas at the
    begin of each transaction, an eighth of its time: here they are set once for each connection, for which they last.
    The text of a filter is parsed once, 3 ms. The tags of experiments and models are read like those of runs, by
    `selectinload`: SQLAlchemy keeps such a query, and builds one of `subqueryload` again each time, 2 ms. Both give the
    same rows. The options of these queries are made once, and keep the keys by which SQLAlchemy finds the statement. No
    connection is tried out before it is used: one to a file does not break off.
    """
    import sqlalchemy
    import sqlparse
    from mlflow.store.db import utils
    from mlflow.store.model_registry import sqlalchemy_store as model_registry
    from mlflow.store.tracking import sqlalchemy_store as tracking
    from sqlalchemy import event
    from sqlalchemy.pool import Pool

    utils._get_latest_schema_revision = functools.cache(utils._get_latest_schema_revision)
    make_sessions = utils._get_managed_session_maker
    for module in (utils, model_registry):
        module._get_managed_session_maker = lambda maker, db_type: make_sessions(
            maker, "" if db_type == utils.SQLITE else db_type
        )
    sqlalchemy.orm.subqueryload = sqlalchemy.orm.selectinload
    sqlparse.parse = functools.lru_cache(sqlparse.parse)
    for store in (tracking.SqlAlchemyStore, model_registry.SqlAlchemyStore):
        for name in [name for name in vars(store) if re.fullmatch("_get_eager_.*_query_options", name)]:
            setattr(store, name, staticmethod(functools.cache(getattr(store, name))))
    event.listen(Pool, "connect", _connected)
    sqlalchemy.create_engine = _with_common_statements(sqlalchemy.create_engine)


def use_store(database: Path) -> None:
    """Make a run in a database, and read it: what SQLAlchemy prepares for that is 0.08 s of CPU time in a script."""
    from mlflow.entities import Metric, Param, RunStatus, RunTag, ViewType
    from mlflow.store.db import utils
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    utils._get_latest_schema_revision()
    uri = f"sqlite:///{database}"
    store = SqlAlchemyStore(uri, str(database.parent / "artifacts"))
    run_id = store.create_run("0", "user", 0, [RunTag("mlflow.source.name", "train.py")], "run").info.run_id
    store.log_metric(run_id, Metric("loss", 1.0, 0, 0))
    store.log_param(run_id, Param("lr", "0.1"))
    store.set_tag(run_id, RunTag("stage", "test"))
    store.log_batch(run_id, [Metric("loss", 0.5, 1, 1)], [Param("depth", "3")], [RunTag("kind", "test")])
    store.get_experiment_by_name("Default")
    store.get_metric_history(run_id, "loss")
    store.search_runs(["0"], "", ViewType.ACTIVE_ONLY)
    store.get_run(run_id)
    store.update_run_info(run_id, RunStatus.FINISHED, 1, "run")
    store.engine.dispose()
    for kept in ("_engine_map", "_db_uri_sql_alchemy_engine_map"):  # of 3.17, of 2.16
        getattr(SqlAlchemyStore, kept, {}).pop(uri, None)


def _connected(connection: object, _: object) -> None:
    if type(connection).__module__ == "sqlite3":
        pragmas = ("synchronous = OFF", "foreign_keys = ON", "busy_timeout = 20000", "case_sensitive_like = true")
        connection.executescript("".join(f"PRAGMA {pragma};" for pragma in pragmas))  # type: ignore[attr-defined]


def _with_common_statements(create_engine: Callable[..., Any]) -> Callable[..., Any]:
    """Let all engines of SQLite share the statements that one of them has compiled (sqlalchemy 1.4 to 2.1)."""
    first = create_engine("sqlite://", query_cache_size=5000)
    first.connect().close()  # its dialect learns the version
    first.dispose()

    @functools.wraps(create_engine)
    def create(*args: Any, **kwargs: Any) -> Any:
        engine = create_engine(*args, **{**kwargs, "pool_pre_ping": False})
        if engine.name == "sqlite":
            engine._compiled_cache = first._compiled_cache
            engine.dialect = engine.pool._dialect = first.dialect  # cached statements are those of one dialect
        return engine

    return create
