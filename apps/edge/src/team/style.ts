import { createHash } from 'node:crypto'

/** The look of every page: one column, light and dark, no picture and no font from anywhere. */
export const STYLE = `
:root{color-scheme:light dark;--ground:#f6f5f2;--card:#fff;--ink:#1d2126;--soft:#5a636d;--line:#d9d6cf;--field:#8a8f96;--accent:#1f5f4f;--on:#fff;--bad:#a8261b;--bad-ground:#fdf0ee;--good-ground:#eef6f2}
@media (prefers-color-scheme:dark){:root{--ground:#14171a;--card:#1d2126;--ink:#eceae5;--soft:#a6adb5;--line:#343a41;--field:#747c85;--accent:#7fd1b9;--on:#0e1512;--bad:#ff9d93;--bad-ground:#33201e;--good-ground:#1b2b26}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:flex;flex-direction:column;align-items:center;background:var(--ground);color:var(--ink);font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
header,main,footer{width:100%;max-width:28rem;padding:0 1.25rem}
main.wide{max-width:46rem}
header{margin-top:clamp(1.5rem,9vh,5rem);margin-bottom:.75rem;color:var(--soft);font-size:.95rem;display:flex;gap:.6rem;align-items:center;justify-content:center;overflow-wrap:anywhere}
header svg{flex:none}
.card{overflow-wrap:break-word;background:var(--card);border:1px solid var(--line);border-radius:.9rem;padding:1.75rem;box-shadow:0 1px 2px rgb(0 0 0/.04),0 8px 28px rgb(0 0 0/.05)}
h1{font-size:1.45rem;line-height:1.25;margin:0 0 .75rem;text-wrap:balance}
h2{font-size:1.05rem;margin:1.75rem 0 .5rem}
p{margin:.5rem 0}
a{color:var(--accent)}
form{margin:1rem 0 0}
label{display:block;font-weight:600;margin:.9rem 0 .3rem}
input,select,textarea{width:100%;min-height:2.85rem;padding:.55rem .75rem;border:1px solid var(--field);border-radius:.5rem;background:var(--card);color:inherit;font:inherit}
input[type=checkbox],input[type=radio]{width:1.15rem;min-height:1.15rem;accent-color:var(--accent)}
input[aria-invalid=true]{border-color:var(--bad)}
button,.button{display:block;width:100%;min-height:2.85rem;margin:1rem 0 0;padding:.6rem 1rem;border:1px solid var(--accent);border-radius:.5rem;background:var(--accent);color:var(--on);font:inherit;font-weight:600;text-align:center;text-decoration:none;cursor:pointer}
button:hover,.button:hover{filter:brightness(1.08)}
.quiet{background:transparent;color:var(--accent)}
.small{display:inline-block;width:auto;min-height:2.4rem;margin:0;padding:.35rem .8rem}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.hint,.soft{color:var(--soft)}
.hint{font-size:.9rem}
p.hint{margin:.3rem 0 0}
.error{color:var(--bad);font-weight:600;margin:.3rem 0 0}
.notice{border-radius:.6rem;padding:.7rem .9rem;margin:.75rem 0;background:var(--good-ground)}
.notice.bad{background:var(--bad-ground)}
.or{display:flex;align-items:center;gap:.75rem;color:var(--soft);margin:1.4rem 0 .2rem}
.or::before,.or::after{content:"";flex:1;border-top:1px solid var(--line)}
ul.apps{list-style:none;margin:1rem 0 0;padding:0}
ul.apps a{display:block;padding:.75rem .9rem;margin:.5rem 0;border:1px solid var(--line);border-radius:.6rem;text-decoration:none;color:inherit;overflow-wrap:anywhere}
ul.apps a:hover{border-color:var(--accent)}
ul.apps strong{display:block;color:var(--accent)}
.row{display:flex;flex-wrap:wrap;gap:.6rem;align-items:center;justify-content:space-between}
.row form{margin:0}
pre{overflow-x:auto;background:var(--ground);border:1px solid var(--line);border-radius:.5rem;padding:.75rem;font:.9rem/1.5 ui-monospace,SFMono-Regular,Menlo,monospace}
code{font-family:ui-monospace,SFMono-Regular,Menlo,monospace;overflow-wrap:anywhere}
table{width:100%;border-collapse:collapse;font-size:.95rem}
th,td{text-align:left;padding:.5rem .6rem .5rem 0;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
.scroll{overflow-x:auto}
dl{margin:.75rem 0;display:grid;grid-template-columns:auto 1fr;gap:.3rem 1rem}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
.tabs{display:flex;flex-wrap:wrap;gap:.25rem 1.5rem;margin:-.5rem 0 1.5rem;border-bottom:1px solid var(--line)}
.tabs a{padding:.5rem 0;margin-bottom:-1px;text-decoration:none;border-bottom:3px solid transparent}
.tabs a[aria-current]{color:inherit;font-weight:600;border-color:var(--accent)}
@media (min-width:30rem){.tabs .home{margin-left:auto}}
.row h1,.row h2{margin:0;min-width:0;overflow-wrap:anywhere}
.badge{font-size:.8rem;font-weight:600;padding:.1rem .6rem;border-radius:1rem;background:var(--good-ground);white-space:nowrap}
.badge.bad{background:var(--bad-ground)}
button.bad{color:var(--bad);border-color:var(--bad)}
ul.rows,ul.inner{list-style:none;margin:1rem 0 0;padding:0}
ul.rows>li{padding:1rem 0;border-top:1px solid var(--line)}
ul.inner>li{padding:.6rem 0 .2rem}
ul.rows dl{grid-template-columns:6.25rem 1fr}
ul.inner dl{margin:.3rem 0}
fieldset{border:0;margin:1.1rem 0 0;padding:0}
legend{font-weight:600;padding:0}
.check{display:flex;gap:.6rem;align-items:baseline;font-weight:400;margin:.5rem 0;overflow-wrap:anywhere}
.check input{flex:none;position:relative;top:.15rem}
form[role=search] input{flex:1;width:auto;min-height:2.4rem}
form[role=search] label{margin:0}
.copy{user-select:all}
p.end{margin-top:1.75rem}
footer{margin:1.25rem 0 2.5rem;color:var(--soft);font-size:.85rem;text-align:center;overflow-wrap:anywhere}
`

/** Names the stylesheet in the Content-Security-Policy: no other style is applied. */
export const STYLE_HASH = `sha256-${createHash('sha256').update(STYLE).digest('base64')}`
