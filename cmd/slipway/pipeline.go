package main

import (
	"github.com/slipway-ci/slipway/internal/cli/launch"
	"github.com/slipway-ci/slipway/pipeline/compile"
	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/syntax"
	"github.com/slipway-ci/slipway/pipeline/trigger"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// compileWorkflow, draftWorkflow and starts join the CLI's packages with the compiler.
func compileWorkflow(path string, src []byte, read launch.Reader) (*planv1.Plan, diag.List) {
	return compile.Compile(path, src, compile.Options{Read: read})
}

// draftWorkflow compiles what is only shown.
func draftWorkflow(path string, src []byte, read launch.Reader) (*planv1.Plan, diag.List) {
	return compile.Draft(path, src, compile.Options{Read: read})
}

func starts(w launch.Workflow, e launch.Event) (bool, string) {
	v, found := trigger.Starts(w.Path, w.Source, trigger.Event{Name: e.Name, Ref: e.Ref, BaseRef: e.BaseRef, Action: e.Action}, syntax.Limits{})
	// What is not well formed goes on to the compiler, which says everything that is wrong with it.
	return v.Starts || found.HasErrors(), v.Reason
}
