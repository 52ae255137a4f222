// Package sli is where an experiment's numbers come from.
//
//	endpoints ──Scraper──▶ ┌───────┐ ──promql──┐
//	                       │ Store │           │                ┌─▶ Value      now, for the watcher
//	traffic ────ticks────▶ └───────┘ ──deltas──┤                │
//	   │                                       ├──▶ Evaluator ──┼─▶ Fresh      is the watcher blind?
//	   └──every request──▶ Results ──exact─────┤                │
//	                                           │                └─▶ Judge      after the fact, for the verdict
//	Prometheus server ─────HTTP API────────────┘
//
// Three rules hold everywhere. No NaN and no infinity leaves the package: a
// number that is not known is no number, and says why. Nothing is counted that
// was not seen: where requests are counted, the counts are exact and travel
// with the ratio. And whatever is read from outside (bodies, series, samples,
// queries, requests in flight) has a stated bound, because the supervisor that
// holds this package has to outlive the system it watches.
package sli
