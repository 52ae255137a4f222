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
		Name: "secret", Signature: `secret(name)`, Returns: "secret", Phase: Declare, call: secretValue,
		Doc: `Is a value that only the supervisor knows: from --secret NAME=@FILE (without the newline at its end), from --secret NAME=env:VARIABLE, or without these from the variable RUNNER_SECRET_NAME, in capitals. It can be, or be a part of (with +, % and format), dsn of sql, headers and body of http and traffic, and headers of prometheus; anywhere else it is refused. In a DSN it is user, password or the whole. The value is put in where it is sent; scripts, journal, report, ledger and terminal have a mark in its place, also where a server answers with it. A run whose secret has no value, or one of less than 6 bytes, is refused; check and plan need none.`,
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
		Doc: `Declares an objective; at least one is required. sli is t.success or t.latency("p99") of traffic or a probe, ratio(…), quantile(…), or PromQL in which [$window] stands for the runner's window. Exactly one of min and max is given: shares as 0.99 or "99%", times in seconds or as "500ms"; a query held against "99%" must yield 0..1. when = "edges" judges it before and after the faults only. It must hold again recovers_within after the last undo. The value goes into abort_if and indexes what observe returns.`,
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
		Name: "netem", Signature: netemSignature, Returns: "fault", Phase: Act, call: netem,
		Doc: `Makes the network of the target's containers late, lossy or narrow, as the kernel's netem does. delay is added to each packet, with jitter around it (distribution "uniform", "normal", "pareto", "paretonormal" or a list of numbers, correlation with the packet before). loss, duplicate, corrupt and reorder are shares of packets, each with a correlation; loss_model is gemodel(…) or state(…) instead of loss; gap lets only every so-manieth packet be reordered. rate narrows to a bandwidth, with overhead bytes a packet, in cells of cell_size; slot is slot(…). limit is the number of packets held at once, computed without it. Only packets that direction ("out", "in" or "both", as the target sees it), peers (targets, addresses, networks), protocol ("tcp", "udp", "icmp"), port (the target's) and peer_port mean are touched, and of those a traffic share of flows (blast_radius' own without it); loopback never is. engine is "qdisc" (the kernel's own), "nfqueue" (for kernels without it) or "auto". A target named as a peer is followed when it restarts. Two netems of one target compose if they mean the same packets, or none in common. It is measured to act before the call returns, and to be gone after the undo. .update(delay = "800ms", …) changes what is given and leaves the rest, without a gap. Undo: what is held is let go, and packets pass as before.`,
	},
	{
		Name: "gemodel", Signature: `gemodel(p, r = None, *, one_h = "100%", one_k = "0%")`, Returns: "loss_model", Phase: Anywhere, call: gemodel,
		Doc: `Is loss in bursts for netem(loss_model = …), after Gilbert and Elliott: a packet moves the link from good to bad with the share p, and back with r (1 − p without it); one_h is lost in the bad state, one_k in the good one. A burst lasts 1/r packets on average.`,
	},
	{
		Name: "state", Signature: `state(p13, p31 = None, *, p32 = "0%", p23 = "100%", p14 = "0%")`, Returns: "loss_model", Phase: Anywhere, call: state,
		Doc: `Is loss in bursts for netem(loss_model = …) by netem's four states: 1 received in a gap, 2 received in a burst, 3 lost in a burst, 4 lost alone in a gap. pXY is the share with which a packet moves from X to Y; p31 is 1 − p13 without it.`,
	},
	{
		Name: "slot", Signature: `slot(min, max = None, *, packets = None, bytes = None)`, Returns: "slot", Phase: Anywhere, call: slot,
		Doc: `Is delivery in bursts for netem(slot = …), as on a link that is shared by turns: a slot opens every min to max, and lets at most packets and bytes through.`,
	},
	{
		Name: "partition", Signature: `partition(target, peers, *, duration = None)`, Returns: "fault", Phase: Act, call: partition,
		Doc: `Drops every packet between the target's containers and peers (targets, addresses, networks), both ways, without a word to either: what a network split looks like. A target named as a peer is followed when it restarts. It is measured that no peer answers any more before the call returns. Undo: packets pass again.`,
	},
	{
		Name: "exec", Signature: `exec(target, argv, *, undo = None, timeout = "30s", duration = None)`, Returns: "fault", Phase: Act, call: execProgram,
		Doc: `Runs a program in the target's containers and returns once it has ended; .code is its exit code, .output the first 4 KiB of what it said. No shell stands in between. undo is the program that takes its effect back; it is on disk before anything is run, must end with 0, and must do no harm where there is nothing to take back. Without it an earlier rollback() is asked for. What the program has started and still runs at the undo is killed first.`,
	},
	{
		Name: "fill_disk", Signature: `fill_disk(target, path, *, percent = None, size = None, leave = None, hold = "auto", keep_full = True, allow_host_disk = False, duration = None)`, Returns: "fault", Phase: Act, call: fillDisk,
		Doc: `Takes room on the file system that the target has at path, until percent of what the service can use is used (df's Use%; what is kept for root counts only where everything in the target runs as root), or by size, or until leave is left. What the service then frees is taken too, unless keep_full = False; a size stays what it is. The ballast is a file without a name, which the kernel frees with the agent; hold = "file" wants a file with a name, and so do file systems that have no other. Where nothing can be allocated it is written, at 128 MiB/s. A file system on which others live too is refused, the host's first of all: with allow_host_disk = True and the operator's host_disk it is filled all the same.`,
	},
	{
		Name: "exhaust_inodes", Signature: `exhaust_inodes(target, path, *, percent = "100%", hold = "auto", keep_full = True, allow_host_disk = False, duration = None)`, Returns: "fault", Phase: Act, call: exhaustInodes,
		Doc: `Takes inodes on the file system that the target has at path, until percent of them are used: no file can be created there, though there is room. Otherwise as fill_disk. Up to 200000 files are held open without a name and are gone with the agent; more, up to 2000000, lie in a folder of ours. xfs and btrfs make inodes as long as there is room, and are refused.`,
	},
	{
		Name: "throttle_io", Signature: `throttle_io(target, *, path = None, read_bps = None, write_bps = None, read_iops = None, write_iops = None, allow_host_disk = False, duration = None)`, Returns: "fault", Phase: Act, call: throttleIO,
		Doc: `Makes the disk slow that the target has at path (without it, that of its one volume on a disk), through the target's cgroup: others on the disk are as fast as before. bps is a size a second, such as "1MiB", iops a number of operations a second. With version 1 of cgroups that holds for reads and for writes that are direct or waited for (fsync). A file system on which others live too is refused as by fill_disk: they may wait for its journal.`,
	},
	{
		Name: "observe", Signature: `observe(duration)`, Returns: "figures", Phase: Act, call: observe, sees: true,
		Doc: `Lets time pass under the watcher. It returns the objectives' figures over that time: with w = observe("10s"), w[availability].value is a number, or None where there is no data, and w[availability].count says how many requests or samples stand behind it.`,
	},
	{
		Name: "http", Signature: `http(url, *, method = "GET", headers = None, body = None, timeout = "5s")`, Returns: "reply", Phase: Probe, call: httpProbe, sees: true,
		Doc: `Sends one request to a declared place: the host of traffic, a probe, metrics, or a target. The reply has .status, .body, .headers (names in lower case), .seconds, .ok and .error; without an answer .status is None and .error says why. r.json(like = {"count": 0}) reads the body as JSON of the shape of an example, which is also what a rehearsal gets: 0 is an int, 0.0 any number, "" a string, [0] a list of ints, None anything; keys that the example has not are left out.`,
	},
	{
		Name: "sql", Signature: `sql(dsn, query, *, args = None, like = None, timeout = "5s", write = False)`, Returns: "rows", Phase: Probe, call: sqlProbe, sees: true,
		Doc: `Asks a PostgreSQL database of a declared place, dsn = "postgres://user:password@postgres:5432/shop", from within the target's own network namespace if the host is one. It is one statement in a transaction that can only read, unless write is set and the operator's policy allows it. args are the values of $1, $2, …; a list is an array. The rows have .rows (lists), .columns, .value (the first row's first, None without one), .seconds, .truncated (there were more than 10,000, or 1 MiB of them), .ok and .error; without an answer .error says why. like = [0, ""] is an example of a row: each row must be like it, and the rehearsal gets it; without it the rehearsal gets [0].`,
	},
	{
		Name: "promql", Signature: `promql(query)`, Returns: "float or None", Phase: Probe, call: promqlProbe, sees: true,
		Doc: `Asks the source that metrics() or prometheus() declares for a number now; [$window] stands for the watcher's window. It is None where there is no such series, or no one number. A rehearsal gets 0.0.`,
	},
	{
		Name: "logs", Signature: `logs(target, *, since = "30s", contains = None)`, Returns: "list of strings", Phase: Probe, call: logsProbe, sees: true,
		Doc: `Reads what the target's containers have said of late, on both their outputs: the last 1,000 lines of each that have contains in them, oldest first, and 256 KiB at most. The target is one that the experiment declares. A rehearsal gets one empty line.`,
	},
	{
		Name: "invariant", Signature: `invariant(name, fn, *, equals = None, min = None, max = None, within = "30s", before = None)`, Phase: Declare, call: invariant,
		Doc: `Declares a number that must stay as it is whatever happens, such as the charges without an order. fn is a def at the top level of a file that probes and returns the number, or None if it cannot be told. With before, another such function, fn gets what that returned at the baseline. It must hold before anything is injected, and within that time after the recovery; in between it is asked for every two seconds, and may be violated for that long at a stretch: what is under way gets the time to settle.`,
	},
	{
		Name: "expect", Signature: `expect(condition, message)`, Phase: Probe, call: expect,
		Doc: `Ends method() with the verdict broke unless condition is True. In a rollback function it fails the rollback.`,
	},
	{
		Name: "rollback", Signature: `rollback(fn, *args)`, Phase: Act, call: rollback,
		Doc: `Registers a function that runs on every ending, after the faults' own undos, last registered first. It is on disk before rollback returns, with sources and arguments, so that it can run though this process is gone: fn is a def at the top level of a file, args are None, bools, numbers, strings, lists, dicts or handles of faults. It may only probe, .undo() and note(), and must bear to run again: one whose process is lost while it runs is run once more.`,
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
