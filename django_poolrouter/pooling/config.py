"""How a pool behaves: profiles, options and their validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from .. import validation
from ..validation import ConfigError, Problem


class PoolProfile(StrEnum):
    """The built-in profiles; settings may add more under ``POOLROUTER["PROFILES"]``."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"
    HIGH_LOAD = "high_load"
    BATCH = "batch"


_COLUMNS = ("pool_size", "max_overflow", "pool_timeout", "pool_recycle", "pool_pre_ping")
BUILT_IN: Mapping[str, Mapping[str, Any]] = {
    str(profile): dict(zip(_COLUMNS, row, strict=True))
    for profile, row in {
        PoolProfile.DEVELOPMENT: (2, 3, 10.0, 300.0, True),
        PoolProfile.PRODUCTION: (10, 20, 30.0, 3600.0, True),
        PoolProfile.HIGH_LOAD: (25, 50, 60.0, 1800.0, True),
        PoolProfile.BATCH: (5, 10, 120.0, 7200.0, False),
    }.items()
}

CHECKS: Mapping[str, validation.Check] = {
    "pool_size": validation.integer(1),
    "max_overflow": validation.integer(),
    "pool_timeout": validation.seconds(),
    "pool_recycle": validation.seconds(optional=True, above_zero=True),
    "pool_pre_ping": validation.boolean,
    "min_idle": validation.integer(),
    "max_idle": validation.seconds(optional=True, above_zero=True),
    "max_waiting": validation.integer(),
    "ping_after": validation.seconds(),
    "ping_timeout": validation.seconds(above_zero=True),
    "reset": validation.one_of("auto", "rollback", "session", dotted=True),
    "configure": validation.callable_or_none,
    "hold": validation.one_of("request", "transaction"),
    "leak_after": validation.seconds(optional=True, above_zero=True),
}

# The option names of Django's native pool, so that its settings keep working.
NATIVE_NAMES = {
    "max_size": "pool_size",
    "min_size": "min_idle",
    "timeout": "pool_timeout",
    "max_lifetime": "pool_recycle",
}
CHECKS_AS_WRITTEN: Mapping[str, validation.Check] = {
    **CHECKS,
    **{native: CHECKS[ours] for native, ours in NATIVE_NAMES.items()},
}


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """The options of one pool; all times are in seconds."""

    pool_size: int
    """The most connections that stay open after checkin."""
    max_overflow: int
    """Extra connections under load, closed at checkin."""
    pool_timeout: float
    """Longest wait for a connection."""
    pool_recycle: float | None
    """Lifetime of a connection, with up to 5 % jitter downwards; None for no limit."""
    pool_pre_ping: bool
    """Ping a connection before use if it was idle for ``ping_after`` or longer."""
    min_idle: int = 0
    """Idle connections to keep ready, opened ahead of demand."""
    max_idle: float | None = 600.0
    """Close a connection that was idle for this long; None for never."""
    max_waiting: int = 0
    """Refuse a caller at once if this many already wait; 0 for no limit."""
    ping_after: float = 1.0
    """A connection used more recently gets only the socket check; 0 pings every time."""
    ping_timeout: float = 2.0
    """Longest wait for the answer to a ping."""
    reset: str | Callable[[Any], object] = "auto"
    """How checkin makes a connection neutral: "auto", "rollback", "session" or a callable."""
    configure: str | Callable[[Any], object] | None = None
    """A callable that prepares each new connection, and each one whose session was cleared."""
    hold: str = "request"
    """How long a lease lasts: "request" or "transaction"."""
    leak_after: float | None = None
    """Report a lease held longer than this; None for never."""
    profile: str = "custom"
    """The profile that the other values started from."""

    @property
    def max(self) -> int:
        """The most connections that can be open at once."""
        return self.pool_size + self.max_overflow

    @classmethod
    def for_profile(
        cls, name: str, profiles: Mapping[str, Mapping[str, Any]] = BUILT_IN
    ) -> PoolConfig:
        """Return the configuration of a profile.

        Raises:
            ConfigError: there is no profile of that name.

        """
        return parse(str(name), profiles)


def parse(
    value: Any, profiles: Mapping[str, Mapping[str, Any]] = BUILT_IN, where: str = "pool"
) -> PoolConfig:
    """Return the configuration that ``OPTIONS["pool"]`` asks for.

    Args:
        value: True (or None), a profile's name, or a mapping of options.
        profiles: all options of each profile, by its name (see ``parse_profiles``).
        where: how messages name the setting.

    Raises:
        ConfigError: with one problem for each mistake.

    """
    problems: list[Problem] = []
    config = _build(*_split(value, where, problems), profiles, where, problems)
    if config is None or problems:
        raise ConfigError(*problems)
    return config


def parse_profiles(
    value: Any, where: str = "POOLROUTER['PROFILES']"
) -> dict[str, Mapping[str, Any]]:
    """Return the built-in profiles and those of the settings, each with all its options.

    Raises:
        ConfigError: with one problem for each mistake.

    """
    profiles: dict[str, Mapping[str, Any]] = dict(BUILT_IN)
    if not isinstance(value, Mapping):
        raise ConfigError(Problem(where, "must be a mapping of profile names to options."))
    problems: list[Problem] = []
    for name, options in value.items():
        place = f"{where}[{name!r}]"
        if name in BUILT_IN or not isinstance(name, str):
            hint = "Use a string that is not the name of a built-in profile."
            problems.append(Problem(place, "cannot be the name of a profile.", hint))
            continue
        if not isinstance(options, Mapping):
            problems.append(Problem(place, "must be a mapping of options."))
            continue
        config = _build(*_split(options, place, problems), profiles, place, problems)
        if config is not None:
            profiles[name] = {
                field.name: getattr(config, field.name)
                for field in fields(config)
                if field.name != "profile"
            }
    if problems:
        raise ConfigError(*problems)
    return profiles


def _split(value: Any, where: str, problems: list[Problem]) -> tuple[Any, Mapping[str, Any]]:
    """Return the profile's name and the overrides."""
    if value is None or value is True or value == "true":
        return PoolProfile.PRODUCTION.value, {}
    if isinstance(value, str):
        return value, {}
    if isinstance(value, Mapping):
        overrides = dict(value)
        return overrides.pop("profile", PoolProfile.PRODUCTION.value), overrides
    wanted = "must be True, False, a profile's name or a mapping of options"
    problems.append(Problem(where, f"{wanted}, not {validation.shorten(value)}."))
    return PoolProfile.PRODUCTION.value, {}


def _build(
    profile: Any,
    overrides: Mapping[str, Any],
    profiles: Mapping[str, Mapping[str, Any]],
    where: str,
    problems: list[Problem],
) -> PoolConfig | None:
    is_known = isinstance(profile, str) and profile in profiles
    if not is_known:
        problems.append(_unknown_profile(where, profile, profiles))
    named = _translate(overrides, where, problems)
    written = dict(named.values())
    good = validation.check_all(where, written, CHECKS_AS_WRITTEN, problems, ["profile"])
    # Compare values with each other only when each of them is valid.
    if not is_known or len(good) < len(named):
        return None
    ours = {name: good[as_written] for name, (as_written, _) in named.items()}
    config = PoolConfig(**{**profiles[profile], **ours}, profile=str(profile))
    _cross_check(config, where, problems)
    return config


def _unknown_profile(where: str, name: Any, profiles: Mapping[str, Any]) -> Problem:
    hint = validation.did_you_mean(name, profiles) or f"Known: {', '.join(profiles)}."
    return Problem(where, f"unknown profile {validation.shorten(name)}.", hint)


def _translate(
    overrides: Mapping[str, Any], where: str, problems: list[Problem]
) -> dict[str, tuple[str, Any]]:
    """Return (name as written, value) by our name; translate the native pool's names."""
    named: dict[str, tuple[str, Any]] = {}
    for written, value in overrides.items():
        ours = NATIVE_NAMES.get(written, written)
        if ours in named:
            both = f"{named[ours][0]!r} and {written!r} are two spellings of one option."
            problems.append(Problem(where, both, "Keep one of them."))
        named[ours] = (written, value)
    if NATIVE_NAMES.keys() & overrides.keys():
        named.setdefault("max_overflow", ("max_overflow", 0))
    return named


def _cross_check(config: PoolConfig, where: str, problems: list[Problem]) -> None:
    if config.min_idle > config.pool_size:
        text = f"min_idle {config.min_idle} is more than pool_size {config.pool_size}."
        problems.append(Problem(where, text, "Keep at most pool_size connections idle."))
