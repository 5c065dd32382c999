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
	return compiling(s, "compile.steps10k", manySteps(10_000), nil)
}

func manySteps(n int) string {
	var b strings.Builder
	b.WriteString("on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n")
	for i := range n {
		fmt.Fprintf(&b, "      - id: s%d\n        run: echo ${{ github.sha }} ${{ steps.s%d.outputs.x }}\n", i, max(i-1, 0))
	}
	return b.String()
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
	return compiling(s, "compile.jobs1000", manyJobs(1000), nil)
}

// manyJobs is a workflow of n jobs, each of which needs the five before it.
func manyJobs(n int) string {
	var b strings.Builder
	b.WriteString("on: push\njobs:\n")
	for i := range n {
		fmt.Fprintf(&b, "  j%d:\n    runs-on: x\n    steps: [{run: a}]\n    needs: [", i)
		for k := max(0, i-5); k < i; k++ {
			fmt.Fprintf(&b, "j%d, ", k)
		}
		b.WriteString("]\n")
	}
	return b.String()
}

// compileGrowth takes turns with a tenth of the same file, ten times its time: 1 is linear.
func compileGrowth(_ context.Context, s *stack) ([]measure.Result, error) {
	var out []measure.Result
	for _, c := range []struct {
		name string
		file func(int) string
		n    int
	}{{"compile.steps10k_growth", manySteps, 10_000}, {"compile.jobs1000_growth", manyJobs, 1000}} {
		times := func(text string, factor time.Duration) func() (time.Duration, error) {
			return func() (time.Duration, error) {
				begin := time.Now()
				plan, found := compile.Compile("bench.yml", []byte(text), compile.Options{})
				if plan == nil {
					return 0, fmt.Errorf("the workflow does not compile: %v", found)
				}
				return factor * time.Since(begin), nil
			}
		}
		samples, err := measure.Interleave(2, s.rounds(20), times(c.file(c.n), 1), times(c.file(c.n/10), 10))
		if err != nil {
			return nil, err
		}
		out = append(out, measure.Compare(c.name, "ms", measure.Lower, samples[0], samples[1], "ten times a tenth of it"))
	}
	return out, nil
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
