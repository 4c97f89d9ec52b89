"""What a run of `scaling` says: lines, a table in Markdown, charts."""

import math
from pathlib import Path

__all__ = ["charts", "growth", "line", "table"]

LEAST_MB = 0.1  # the memory panel's lower edge: less is not told apart


def growth(before, after):
    """The exponent p of time ~ n^p between two points."""
    return math.log(after["median_ms"] / before["median_ms"]) / math.log(after["n"] / before["n"])


def megabytes(size):
    """A number of MB (10^6 bytes)."""
    if size is None:
        return "?"
    mb = size / 1e6
    return f"{mb:.0f}" if mb >= 9.95 else f"{mb:.1f}" if mb >= LEAST_MB else f"<{LEAST_MB}"


def milliseconds(ms):
    return f"{ms:.2f}" if ms < 10 else f"{ms:.1f}" if ms < 100 else spaced(ms)


def spaced(number):
    return f"{number:,.0f}".replace(",", " ")


def line(message):
    """One point, or one end, as it is printed while the curves grow."""
    head = f"{message['rival']:12}{message['curve'] or '':32}"
    if "median_ms" not in message:
        where = f" before {message['n']} {message['of']}" if "n" in message else ""
        return f"{head}ends{where}: {message['why']}"
    return (f"{head}{message['n']:>8} {message['of']:8}{milliseconds(message['median_ms']):>10} ms  beyond inputs and "
            f"result {megabytes(message['extra_bytes']):>6} MB, result {megabytes(message['result_bytes']):>6} MB")


def table(result):
    """Lines of Markdown: a row for each curve and power of ten, milliseconds and MB of every rival."""
    rows = {}
    for point in result["points"]:
        if math.log10(point["n"]).is_integer():
            rows.setdefault((point["curve"], point["n"]), {})[point["rival"]] = point
    rivals = list(dict.fromkeys(point["rival"] for point in result["points"]))
    heads = [f"{rival}, ms | MB" for rival in rivals]
    yield f"| work | n | result, MB | {' | '.join(heads)} | growth |"
    yield "|" + "---|" * (4 + 2 * len(rivals))
    for (curve, n), points in rows.items():
        cells = [curve, spaced(n)]
        ours, before = points.get("roikit"), rows.get((curve, n // 10), {}).get("roikit")
        cells.append(megabytes(ours["result_bytes"]) if ours else "")
        for rival in rivals:
            point = points.get(rival)
            cells += [milliseconds(point["median_ms"]), megabytes(point["extra_bytes"])] if point else ["", ""]
        cells.append(f"n^{growth(before, ours):.2f}" if ours and before else "")
        yield f"| {' | '.join(cells)} |"


def charts(result, path):
    """One PNG for each op: for each of its curves a panel of times and one of memory, on logarithmic axes."""
    for op in dict.fromkeys(point["op"] for point in result["points"]):
        place = Path(path)
        chart([point for point in result["points"] if point["op"] == op], result["machine"],
              place.with_name(f"{place.stem}_{op}{place.suffix}"))


def chart(points, facts, path):
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(point["curve"] for point in points))
    rivals = list(dict.fromkeys(point["rival"] for point in points))
    fig = Figure(figsize=(10, 0.8 + 3.2 * len(names)), layout="constrained")
    panels = fig.subplots(len(names), 2, squeeze=False)
    for name, (left, right) in zip(names, panels, strict=True):
        for rival in rivals:
            mine = [point for point in points if point["curve"] == name and point["rival"] == rival]
            if not mine:
                continue
            n = [point["n"] for point in mine]
            # Peers have the colours of the bar chart, where roikit is the black line.
            style = {"color": "k", "zorder": 3} if rival == "roikit" else {"color": f"C{rivals.index(rival) - 1}"}
            left.plot(n, [point["median_ms"] for point in mine], "o-", markersize=4, label=rival, **style)
            told = [(point["n"], max(point["extra_bytes"] / 1e6, LEAST_MB)) for point in mine
                    if point["extra_bytes"] is not None]
            right.plot([x for x, _ in told], [mb for _, mb in told], "o-", markersize=4, label=rival, **style)
            if rival == "roikit":
                left.plot(n, [mine[-1]["median_ms"] * x / n[-1] for x in n], "k:", linewidth=1, label="grows as n")
                right.plot(n, [max(point["result_bytes"] / 1e6, LEAST_MB) for point in mine], "k--", linewidth=1,
                           label="the result itself")
        of = next(point["of"] for point in points if point["curve"] == name)
        left.set(xscale="log", yscale="log", xlabel=of, ylabel="ms", title=name)
        right.set(xscale="log", yscale="log", xlabel=of, ylabel="MB", ylim=(LEAST_MB * 0.7, None),
                  title="memory beyond inputs and result")
        for panel in (left, right):
            panel.grid(alpha=0.3)
            panel.legend(fontsize=8)
    fig.suptitle(f"roikit {facts['roikit']}, {facts['processor']}, {facts['threads']} threads", fontsize=10)
    fig.savefig(path, format="png", dpi=100)
