// Command runner runs chaos experiments written in Starlark.
//
//	runner exp3.star      runs an experiment
//	runner check FILE…    loads and rehearses it; touches nothing, needs no Docker
//	runner plan FILE      shows what would be injected, and how it is undone
//	runner recover        undoes whatever dead runs left
//	runner status         what runs, what is injected now
//	runner stop [RUN]     the red button
//	runner report RUN     the report again, from the run's files
//
// The same binary is also the worker and the agent that a run starts.
package main

import (
	"os"

	"chaosrunner/builtins/sli"
	"chaosrunner/runner/agent"
	"chaosrunner/runner/worker"
)

func main() {
	// The two hidden processes start here, before the command line is built:
	// they must be up in milliseconds.
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "worker":
			os.Exit(worker.Main(os.Stdin, os.Stdout, worker.Options{CheckSLI: sli.Check}))
		case "agent":
			os.Exit(agent.Main(os.Stdin, os.Stdout, os.Args[2:]))
		}
	}
	os.Exit(execute(os.Args[1:]))
}
