package builtins

import "go.starlark.net/starlark"

// A Builtin is a row of the language's one table. The reference, the editor's
// stub and the unpacking of arguments all come from it.
type Builtin struct {
	Name      string
	Signature string // unpacked as it stands here
	Returns   string // the type of its value; "" for None
	Phase     Phase
	Doc       string // a paragraph, for people

	sees bool // what it returns depends on the system
	call func(*Session, *call) (starlark.Value, error)
}

// Table is the language.
var Table = []Builtin{
	{
		Name: "hypothesis", Signature: `hypothesis(text)`, Phase: Declare, call: hypothesis,
		Doc: `Says in one sentence what the experiment claims, such as "checkout stays available when catalog dies". Required, once. It heads the report and the log entry.`,
	},
	{
		Name: "blast_radius", Signature: `blast_radius(targets, duration, *, at_most = None, traffic = "100%")`, Phase: Declare, call: blastRadius,
		Doc: `Bounds the harm. Required, once. Only targets may be touched, at_most containers of them at once, and never for longer than duration from the first fault to the last undo: passing it aborts the run. A traffic share below 100 % is refused by faults that cannot keep to it.`,
	},
	{
		Name: "steady_state", Signature: `steady_state(*, baseline = "15s", within = "2m")`, Phase: Declare, call: steadyState,
		Doc: `Says how long every objective must hold before method() begins, and how long to wait for that. Without it the defaults hold.`,
	},
	{
		Name: "param", Signature: `param(name, default, doc)`, Returns: "string, int, float or bool", Phase: Declare, call: paramValue,
		Doc: `Returns default, or what --set NAME=VALUE gives, read as default's type: a string, an int, a float or a bool. A --set that no param takes is an error.`,
	},
	{
		Name: "metrics", Signature: `metrics(scrape, *, interval = "200ms", timeout = "2s")`, Phase: Declare, call: metrics,
		Doc: `Scrapes exposition endpoints into memory every interval and answers PromQL from there; no Prometheus server is needed. "api:8080/metrics" names a target's port, and is scraped from inside the target's own network namespace, where no network fault blinds it and no published port is needed. A URL is scraped from here.`,
	},
	{
		Name: "prometheus", Signature: `prometheus(url, *, headers = None, interval = "1s", timeout = "2s")`, Phase: Declare, call: prometheus,
		Doc: `Takes PromQL answers from a Prometheus server instead of metrics().`,
	},
	{
		Name: "traffic", Signature: `traffic(url, arrivals, *, method = "GET", headers = None, body = None, expect = None, timeout = "2s", name = None)`, Returns: "traffic", Phase: Declare, call: traffic,
		Doc: `Sends HTTP requests at a constant rate for as long as the experiment lasts, however slowly they are answered. body is a string, or a dict or list that is sent as JSON. A request succeeds if its status is in expect, or without that in 200..399, and it comes within timeout, which is best below the 3 s without an answer that count as blindness. The value's .success and .latency("p99") are SLIs.`,
	},
	{
		Name: "probe", Signature: `probe(name, url, *, every = "1s", timeout = "1s", expect = None)`, Returns: "probe", Phase: Declare, call: probe,
		Doc: `Sends one GET request every so often. The value's .success and .latency("p99") are SLIs.`,
	},
	{
		Name: "ratio", Signature: `ratio(good, total)`, Returns: "sli", Phase: Anywhere, call: ratio,
		Doc: `Is the share of good among total, both PromQL selectors of counters, such as http_requests_total{code="200"}. Their counts are known, so a verdict on it has an interval.`,
	},
	{
		Name: "quantile", Signature: `quantile(histogram, q)`, Returns: "sli", Phase: Anywhere, call: quantile,
		Doc: `Is the q-quantile ("p99" or 0.99) of a Prometheus histogram, a selector of its _bucket series, in the histogram's own unit.`,
	},
	{
		Name: "slo", Signature: `slo(name, sli, *, min = None, max = None, when = "always", recovers_within = "30s")`, Returns: "slo", Phase: Declare, call: slo,
		Doc: `Declares an objective; at least one is required. sli is t.success or t.latency("p99") of traffic or a probe, ratio(…), quantile(…), or PromQL in which [$window] stands for the runner's window. Exactly one of min and max is given: shares as 0.99 or "99%", times in seconds or as "500ms". when = "edges" judges it before and after the faults only. It must hold again recovers_within after the last undo. The value goes into abort_if and indexes what observe returns.`,
	},
	{
		Name: "abort_if", Signature: `abort_if(slo_or_sli, *, below = None, above = None, lasting = "1s")`, Phase: Declare, call: abortIf,
		Doc: `Ends the run, with everything undone at once, when an objective or an SLI has been below or above a threshold for lasting. At least one is required. Without a threshold an objective's own counts. It is armed from the first fault to the last undo; no data for 3 s ends the run too.`,
	},
	{
		Name: "kill", Signature: `kill(target, *, stays_down = True, signal = "SIGKILL", duration = None)`, Returns: "fault", Phase: Act, call: kill,
		Doc: `Kills the target's containers and returns once they are seen dead. With stays_down they stay down until the undo, which starts them and waits until they are healthy. With stays_down = False the signal goes to the init process as in a real crash, and the restart policy acts.`,
	},
	{
		Name: "stop", Signature: `stop(target, *, grace = None, duration = None)`, Returns: "fault", Phase: Act, call: stop,
		Doc: `Stops the target's containers in order: their stop signal, and SIGKILL after grace (without it, the container's own, 10 s by default). Undo: they are started, and healthy again.`,
	},
	{
		Name: "pause", Signature: `pause(target, *, duration = None)`, Returns: "fault", Phase: Act, call: pause,
		Doc: `Freezes the target's processes: they hold their connections and answer nothing. Undo: they go on. To let time pass, use observe.`,
	},
	{
		Name: "restart", Signature: `restart(target, *, grace = None)`, Returns: "fault", Phase: Act, call: restart,
		Doc: `Restarts the target's containers and returns once they run. There is nothing to undo; observe what follows.`,
	},
	{
		Name: "observe", Signature: `observe(duration)`, Returns: "figures", Phase: Act, call: observe, sees: true,
		Doc: `Lets time pass under the watcher. It returns the objectives' figures over that time: with w = observe("10s"), w[availability].value is a number, or None where there is no data, and w[availability].count says how many requests or samples stand behind it.`,
	},
	{
		Name: "http", Signature: `http(url, *, method = "GET", headers = None, body = None, timeout = "5s")`, Returns: "reply", Phase: Probe, call: httpProbe, sees: true,
		Doc: `Sends one request to a declared place: the host of traffic, a probe, metrics, or a target. The reply has .status, .body, .headers (names in lower case), .seconds, .ok and .error; without an answer .status is None and .error says why.`,
	},
	{
		Name: "expect", Signature: `expect(condition, message)`, Phase: Probe, call: expect,
		Doc: `Ends method() with the verdict broke unless condition is True. In a rollback function it fails the rollback.`,
	},
	{
		Name: "rollback", Signature: `rollback(fn, *args)`, Phase: Act, call: rollback,
		Doc: `Registers a function that runs on every ending, after the faults' own undos, last registered first. It is on disk before rollback returns, with sources and arguments, so that it can run though this process is gone: fn is a def at the top level of a file, args are None, bools, numbers, strings, lists, dicts or handles of faults. It may only probe, .undo() and note().`,
	},
	{
		Name: "note", Signature: `note(text)`, Phase: Anywhere, call: note,
		Doc: `Writes a remark into the journal and the report.`,
	},
	{
		Name: "pick", Signature: `pick(targets, *, n = None, percent = None)`, Returns: "list of targets", Phase: Act, call: pick,
		Doc: `Chooses n containers, or a percentage of them (rounded down, at least one), among all that targets mean. The choice depends on --seed only, and is the same in the rehearsal and in the run.`,
	},
	{
		Name: "print", Signature: `print(*args, sep = " ")`, Phase: Anywhere, call: printArgs,
		Doc: `Prints values for whoever debugs the script. A rehearsal is silent.`,
	},
}

// probes are the builtins whose value depends on the system.
var probes = func() map[string]bool {
	m := map[string]bool{}
	for _, row := range Table {
		if row.sees {
			m[row.Name] = true
		}
	}
	return m
}()
