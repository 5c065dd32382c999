package runner

import (
	"context"
	"fmt"
	"strings"

	"github.com/slipway-ci/slipway/agent/logs"
	"github.com/slipway-ci/slipway/agent/state"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// collect uploads the files that a step's `reports:` names, as an artifact of their own: what lies in artifacts is recognised and shown. They are
// for people: without them the step ends as it does with them, and an annotation says what went wrong. Twice is as good as once.
func (t *Attempt) collect(ctx context.Context, e entry, x *ending) {
	reports := e.step.GetReports()
	if reports == nil || e.kind != kindMain || x.outcome == corev1.Result_RESULT_CANCELLED {
		return
	}
	if err := t.uploadReports(ctx, e, reports, x); err != nil && ctx.Err() == nil {
		x.extra = append(x.extra, state.Annotation{Level: "warning", Title: "Reports", Message: "the step's reports are missing: " + err.Error()})
	}
}

func (t *Attempt) uploadReports(ctx context.Context, e entry, reports *planv1.Reports, x *ending) error {
	env, err := t.stepEnv(e, t.envOf(e))
	if err != nil {
		return err
	}
	var globs []string
	for _, list := range [][]*planv1.Value{reports.GetJunit(), reports.GetSarif(), reports.GetCoverage(), reports.GetSbom()} {
		got, err := resolve.Strings(list, t.scope.of(e, env))
		if err != nil {
			return fmt.Errorf("reports: %w", err)
		}
		globs = append(globs, got...)
	}
	upload := &planv1.Step{Kind: nativeUpload(t.reportsName(e), strings.Join(globs, "\n"))}
	if _, ok := t.d.Natives[upload.GetNative().GetName()]; !ok {
		return fmt.Errorf("this agent has no native step %q", upload.GetNative().GetName())
	}
	// What is in reports leaves before the step's own masks are known otherwise.
	hide, err := logs.Declared(t.dirs.LogPath(e.number), t.values.hide)
	if err != nil {
		return err
	}
	out, err := t.openLines(e.number)
	if err != nil {
		return err
	}
	defer out.Close()
	var noted annotations
	r, _, _ := t.performNative(t.withStep(ctx, e.number), entry{number: e.number, step: upload}, env, hide, out, &noted)
	x.extra = append(x.extra, noted.list...)
	return r.err
}

// reportsName is unique in the run: reports of a step replace those of its earlier tries and attempts.
func (t *Attempt) reportsName(e entry) string {
	step := e.step.GetId()
	if step == "" {
		step = fmt.Sprint(e.number)
	}
	return "reports-" + t.a.GetJobId() + "-" + step
}

func nativeUpload(name, paths string) *planv1.Step_Native {
	with := func(name, value string) *planv1.Entry {
		return &planv1.Entry{Name: name, Value: &planv1.Value{Kind: &planv1.Value_Literal{Literal: value}}}
	}
	return &planv1.Step_Native{Native: &planv1.Native{Name: "upload-artifact", With: []*planv1.Entry{
		with("name", name), with("path", paths), with("if-no-files-found", "warn"), with("overwrite", "true"),
	}}}
}
