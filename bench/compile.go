package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/slipway-ci/slipway/bench/measure"
	"github.com/slipway-ci/slipway/pipeline/compile"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/matrix"
)

// compileSteps10k compiles a workflow with one job of 10,000 steps.
func compileSteps10k(_ context.Context, s *stack) ([]measure.Result, error) {
	var b strings.Builder
	b.WriteString("on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n")
	for i := range 10_000 {
		fmt.Fprintf(&b, "      - id: s%d\n        run: echo ${{ github.sha }} ${{ steps.s%d.outputs.x }}\n", i, max(i-1, 0))
	}
	return compiling(s, "compile.steps10k", b.String(), nil)
}

// compileMatrix256 compiles a workflow with a matrix of 16 × 16, and makes its legs.
func compileMatrix256(_ context.Context, s *stack) ([]measure.Result, error) {
	axis := make([]string, 16)
	for i := range axis {
		axis[i] = fmt.Sprint(i)
	}
	list := "[" + strings.Join(axis, ", ") + "]"
	legs, err := expr.FromJSON([]byte(`{"x": ` + list + `, "y": ` + list + `}`))
	if err != nil {
		return nil, err
	}
	src := "on: push\njobs:\n  a:\n    runs-on: x\n    strategy:\n      matrix:\n        x: " + list + "\n        y: " + list + "\n    steps: [{run: a}]\n"
	return compiling(s, "compile.matrix256", src, func() error {
		all, err := matrix.Expand(legs)
		if err == nil && len(all) != 256 {
			err = fmt.Errorf("the matrix has %d legs", len(all))
		}
		return err
	})
}

// compileJobs1000 compiles a workflow of 1,000 jobs with 5,000 edges.
func compileJobs1000(_ context.Context, s *stack) ([]measure.Result, error) {
	var b strings.Builder
	b.WriteString("on: push\njobs:\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "  j%d:\n    runs-on: x\n    steps: [{run: a}]\n    needs: [", i)
		for k := max(0, i-5); k < i; k++ {
			fmt.Fprintf(&b, "j%d, ", k)
		}
		b.WriteString("]\n")
	}
	return compiling(s, "compile.jobs1000", b.String(), nil)
}

// compiling takes turns with the YAML library alone, which reads the same file and understands nothing of it.
func compiling(s *stack, name, src string, more func() error) ([]measure.Result, error) {
	text := []byte(src)
	ours := func() (time.Duration, error) {
		begin := time.Now()
		plan, found := compile.Compile("bench.yml", text, compile.Options{})
		if plan == nil {
			return 0, fmt.Errorf("the workflow does not compile: %v", found)
		}
		if more != nil {
			if err := more(); err != nil {
				return 0, err
			}
		}
		return time.Since(begin), nil
	}
	library := func() (time.Duration, error) {
		begin := time.Now()
		var document yaml.Node
		err := yaml.Unmarshal(text, &document)
		return time.Since(begin), err
	}
	samples, err := measure.Interleave(2, s.rounds(20), ours, library)
	if err != nil {
		return nil, err
	}
	return []measure.Result{measure.Compare(name, "ms", measure.Lower, samples[0], samples[1], "the YAML library alone")}, nil
}
