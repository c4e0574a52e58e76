-- Keep what a report found of a series' day, in the place of what an earlier one found.
insert into quality (
    series_id, day, expected, known, rows, gaps, rejected, compared, differing, judged, stale, outliers, crossed,
    cadence_s, longest_s, score, findings
)
values (
    %(series_id)s, %(day)s, %(expected)s, %(known)s, %(rows)s, %(gaps)s, %(rejected)s, %(compared)s, %(differing)s,
    %(judged)s, %(stale)s, %(outliers)s, %(crossed)s, %(cadence_s)s, %(longest_s)s, %(score)s, %(findings)s::json
)
on conflict (series_id, day) do update
set expected = excluded.expected,
    known = excluded.known,
    rows = excluded.rows,
    gaps = excluded.gaps,
    rejected = excluded.rejected,
    compared = excluded.compared,
    differing = excluded.differing,
    judged = excluded.judged,
    stale = excluded.stale,
    outliers = excluded.outliers,
    crossed = excluded.crossed,
    cadence_s = excluded.cadence_s,
    longest_s = excluded.longest_s,
    score = excluded.score,
    findings = excluded.findings,
    checked_at = now()
