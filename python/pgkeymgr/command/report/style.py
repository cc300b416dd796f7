"""The style sheet of the report: light and dark, on paper, and on a narrow screen."""

CSS = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #fff; --ink: #1b2430; --soft: #55606e; --line: #d9dee5; --track: #e3e7ec;
  --accent: #0b5cad;
  --error: #b3261e; --error-back: #fdeceb; --warning: #8a5300; --warning-back: #fdf3e1;
  --notice: #0b5cad; --notice-back: #e8f1fb; --ok: #1a6e3c; --ok-back: #e6f4eb;
  --s0: #1f6fb8; --s1: #2f8f5b; --s2: #b7791f; --s3: #a33b5e; --s4: #68738a;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #12161c; --card: #1b2129; --ink: #e6eaf0; --soft: #a5b0be; --line: #333c48; --track: #333c48;
    --accent: #7db8f5;
    --error: #ff9c94; --error-back: #3d1f1d; --warning: #f3c274; --warning-back: #38290f;
    --notice: #8fc2f7; --notice-back: #182c42; --ok: #86d7a3; --ok-back: #15301f;
    --s0: #5aa9ee; --s1: #5fc78c; --s2: #e3b15c; --s3: #e58aa8; --s4: #98a4b8;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow-wrap: anywhere;
}
header, main, footer { max-width: 1160px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 28px; }
footer { color: var(--soft); font-size: 13px; padding-top: 8px; padding-bottom: 32px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 20px; line-height: 1.3; margin: 32px 0 12px; }
h3 { font-size: 16px; margin: 0 0 10px; }
p { margin: 0 0 8px; }
a { color: var(--accent); }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 0.9em; }
.soft { color: var(--soft); }
.card {
  background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px;
  margin: 0 0 16px;
}
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px; padding: 0; margin: 10px 0 0; }
.tiles {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 20px 0 0;
  padding: 0;
}
.tile {
  background: var(--card); border: 1px solid var(--line); border-top: 3px solid var(--ok); border-radius: 10px;
  padding: 10px 14px;
}
.tile.error { border-top-color: var(--error); }
.tile.warning { border-top-color: var(--warning); }
.tile.plain { border-top-color: var(--line); }
.tile dt { color: var(--soft); font-size: 13px; }
.tile dd { margin: 0; font-size: 22px; line-height: 1.35; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile .note { display: block; font-size: 13px; font-weight: 400; color: var(--soft); line-height: 1.4; }
dl.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 4px 20px; margin: 0; }
dl.facts dt { color: var(--soft); }
dl.facts dd { margin: 0; }
table { border-collapse: collapse; width: 100%; font-size: 14px; margin: 0 0 14px; }
table:last-child { margin-bottom: 0; }
td { min-width: 88px; }
caption { text-align: left; color: var(--soft); font-size: 13px; padding: 0 0 6px; }
th, td { text-align: left; vertical-align: top; padding: 7px 14px 7px 0; border-top: 1px solid var(--line); }
th:last-child, td:last-child { padding-right: 0; }
thead th {
  border-top: 0; color: var(--soft); font-size: 13px; font-weight: 600; white-space: nowrap;
  overflow-wrap: normal;
}
tbody th { font-weight: 600; min-width: 110px; }
td.number { min-width: 0; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.time { white-space: nowrap; font-variant-numeric: tabular-nums; }
.wide { width: 45%; }
td.broad { min-width: 150px; }
td.word { min-width: 104px; }
.pill {
  display: inline-block; border-radius: 999px; padding: 0 9px; font-size: 13px; line-height: 1.55;
  white-space: nowrap;
  color: var(--soft); background: var(--track);
}
.pill.error, .pill.expired { color: var(--error); background: var(--error-back); }
.pill.warning, .pill.migrating, .pill.decrypting { color: var(--warning); background: var(--warning-back); }
.pill.notice, .pill.rotating { color: var(--notice); background: var(--notice-back); }
.pill.ok, .pill.current, .pill.encrypted { color: var(--ok); background: var(--ok-back); }
.card ul:not(.legend) { margin: 0; padding-left: 20px; }
.problem { border-left: 4px solid var(--error); }
.hint { color: var(--soft); display: block; }
svg { display: block; }
.bar { width: 100%; height: 14px; border-radius: 3px; margin-top: 4px; }
.metered { display: flex; align-items: center; gap: 10px; min-width: 130px; }
.metered .bar { margin: 0; flex: 1; height: 10px; border-radius: 5px; min-width: 60px; }
.percent { min-width: 52px; text-align: right; font-variant-numeric: tabular-nums; }
.track { fill: var(--track); }
.done { fill: var(--s1); }
.series-0 { fill: var(--s0); } .series-1 { fill: var(--s1); } .series-2 { fill: var(--s2); }
.series-3 { fill: var(--s3); } .series-4 { fill: var(--s4); }
.legend {
  list-style: none; display: flex; flex-wrap: wrap; gap: 2px 18px; margin: 0 0 10px; padding: 0;
  font-size: 13px; color: var(--soft);
}
.legend li { display: flex; align-items: center; gap: 7px; }
.swatch { width: 11px; height: 11px; }
figure { margin: 0; }
figcaption { font-size: 13px; color: var(--soft); margin-bottom: 6px; }
.chart { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 4px 8px; }
.plot svg { width: 100%; height: 170px; overflow: visible; }
.grid { stroke: var(--line); stroke-width: 1; vector-effect: non-scaling-stroke; }
.x, .y { color: var(--soft); font-size: 12px; font-variant-numeric: tabular-nums; }
.y { display: flex; flex-direction: column; justify-content: space-between; text-align: right; margin: -8px 0; }
.x { grid-column: 2; display: flex; justify-content: space-between; }
details summary { cursor: pointer; color: var(--accent); margin: 12px 0 6px; }
@media (max-width: 640px) {
  header, main, footer { padding-left: 14px; padding-right: 14px; }
  .card { padding: 14px; }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  dl.facts { grid-template-columns: minmax(0, 1fr); gap: 0; }
  dl.facts dd { margin-bottom: 6px; }
  table.stacked thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table.stacked, table.stacked tbody, table.stacked tr, table.stacked caption { display: block; }
  table.stacked th, table.stacked td { display: block; border: 0; padding: 1px 0; text-align: left; width: auto; }
  table.stacked tr { border-top: 1px solid var(--line); padding: 9px 0; }
  table.stacked td[data-label] { display: grid; grid-template-columns: 124px minmax(0, 1fr); gap: 10px; }
  table.stacked td[data-label]::before { content: attr(data-label); color: var(--soft); font-size: 13px; }
  table.stacked td.empty { display: none; }
}
@media print {
  :root { color-scheme: light; --page: #fff; }
  body { font-size: 11px; }
  table, caption, thead th, .pill, .tile dt, .tile .note, .legend, figcaption, .x, .y, footer { font-size: 10px; }
  .tiles { grid-template-columns: repeat(5, minmax(0, 1fr)); gap: 8px; }
  .tile { padding: 6px 10px; }
  .tile dd { font-size: 16px; }
  .wide { width: 34%; }
  td { min-width: 60px; }
  td.broad { min-width: 90px; }
  td.word { min-width: 76px; }
  .metered { min-width: 90px; gap: 4px; }
  .metered .bar { min-width: 40px; }
  .percent { min-width: 40px; }
  th, td { padding: 4px 10px 4px 0; }
  header, main, footer { max-width: none; padding-left: 0; padding-right: 0; }
  .card { border-radius: 0; padding: 10px 0; border-width: 1px 0 0; }
  nav, summary { display: none; }
  tr, .tile, figure { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  thead { display: table-header-group; }
  svg, .pill, .tile { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
@page { margin: 14mm; }
"""
