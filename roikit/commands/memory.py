"""The switch of the commands that keep the C library's freed memory."""

import click
from click.core import ParameterSource

import roikit

__all__ = ["keeps_memory", "memory_switch"]


def _keep(ctx, param, value):
    if value and not ctx.resilient_parsing and not roikit.keep_freed_memory() \
            and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE:
        click.echo("--keep-memory does nothing here: it needs glibc's allocator", err=True)
    return value


def memory_switch(**more):
    """--keep-memory and --no-keep-memory, on by default, which ROIKIT_KEEP_MEMORY=on|off sets as well."""
    return click.option("--keep-memory/--no-keep-memory", default=True, show_default=True, envvar="ROIKIT_KEEP_MEMORY",
                        help="Whether to keep freed memory until the end, which saves the time of clearing it anew; "
                             "with glibc alone. ROIKIT_KEEP_MEMORY=on|off sets it for all commands.",
                        callback=_keep, **more)


def keeps_memory(command):
    """A command that keeps freed memory from its start, with the switch."""
    return memory_switch(expose_value=False)(command)
