package show

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/cli/launch"
	"github.com/slipway-ci/slipway/internal/cli/settings"
	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/lint"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	"github.com/slipway-ci/slipway/sdk/client"
)

// Error says what went wrong and, where that is known, what to do. An error that was said already adds nothing.
func Error(w io.Writer, err error) {
	var silent *exit.Error
	if errors.As(err, &silent) && silent.Err == nil {
		return
	}
	var findings *launch.Findings
	if errors.As(err, &findings) {
		Diagnostics(w, findings.List)
	}
	var call *client.Error
	if errors.As(err, &call) && len(call.Diagnostics) > 0 {
		// The coordinator found what the CLI could not: said in the same words, as nothing was started either.
		findings = &launch.Findings{List: fromAPI(call.Diagnostics)}
		Diagnostics(w, findings.List)
		err = fmt.Errorf("%s: %w", call.Op, findings)
	}
	fmt.Fprintf(w, "slipway: %v\n", err)
	switch {
	case errors.Is(err, settings.ErrNoContext):
		fmt.Fprintln(w, "Start everything on this machine with `slipway dev --detach`, or name a coordinator with --address and --token-file.")
	case errors.Is(err, client.ErrUnreachable):
		fmt.Fprintln(w, "Is it running? `slipway dev status` tells for this machine, `slipway dev --detach` starts it.")
	case errors.Is(err, client.ErrUnauthenticated):
		fmt.Fprintln(w, "Give a valid token with --token-file or SLIPWAY_TOKEN; `slipway tokens create` makes one for who is an administrator.")
	}
}

// Diagnostics prints findings, one after the other.
func Diagnostics(w io.Writer, list diag.List) {
	for _, d := range list {
		fmt.Fprintln(w, safeLines(d.String()))
	}
}

// Warnings prints the findings of a run that may start. Those of the lints are only counted: they are about how the file is written, and
// `slipway validate` shows them.
func Warnings(w io.Writer, list diag.List) {
	lints := 0
	for _, d := range list {
		if _, ok := lint.Codes[d.Code]; ok {
			lints++
			continue
		}
		fmt.Fprintln(w, safeLines(d.String()))
	}
	switch lints {
	case 0:
	case 1:
		fmt.Fprintln(w, "1 finding of the lints; `slipway validate` shows it")
	default:
		fmt.Fprintf(w, "%d findings of the lints; `slipway validate` shows them\n", lints)
	}
}

// fromAPI turns the coordinator's findings into the compiler's type, so that both look the same.
func fromAPI(list []*apiv1.Diagnostic) diag.List {
	var out diag.List
	for _, d := range list {
		severity := diag.Error
		if d.GetSeverity() == diag.Warning.String() {
			severity = diag.Warning
		}
		out = append(out, diag.Diagnostic{Path: d.GetPath(), Line: int(d.GetPosition().GetLine()), Column: int(d.GetPosition().GetColumn()),
			Severity: severity, Code: d.GetCode(), Message: d.GetMessage(), Hint: d.GetHint()})
	}
	return out
}

// Pages says where a browser shows the runs, if the coordinator has pages.
func Pages(w io.Writer, runs []launch.Submitted) {
	for _, r := range runs {
		if r.URL != "" {
			fmt.Fprintf(w, "#%d of %s: %s\n", r.Number, safe(r.Path), safe(r.URL))
		}
	}
}

// Submitted prints the ids of runs that go on by themselves.
func Submitted(w io.Writer, runs []launch.Submitted, json bool) error {
	if json {
		type view struct {
			ID     string `json:"id"`
			Number uint64 `json:"number"`
			Path   string `json:"path"`
			URL    string `json:"url,omitempty"`
		}
		out := make([]view, 0, len(runs))
		for _, r := range runs {
			out = append(out, view{r.ID, r.Number, r.Path, r.URL})
		}
		return Value(w, out)
	}
	for _, r := range runs {
		if _, err := fmt.Fprintln(w, r.ID); err != nil {
			return err
		}
	}
	return nil
}

// Outcome ends `slipway run`.
func Outcome(w io.Writer, runs []*apiv1.Run, json bool, now time.Time) error {
	if json {
		return List(w, runs)
	}
	for _, r := range runs {
		if err := Ended(w, r, now); err != nil {
			return err
		}
	}
	return nil
}

// Token prints a fresh secret: alone on out, so that a script can keep it.
func Token(w io.Writer, t client.Token, json bool) error {
	if json {
		return Value(w, map[string]string{"token": t.Secret, "expires": t.Expires.UTC().Format(time.RFC3339)})
	}
	_, err := fmt.Fprintln(w, t.Secret)
	return err
}

// SignIn prints a link: alone on out, so that a script can open it.
func SignIn(w io.Writer, link string, expires time.Time, json bool) error {
	if json {
		return Value(w, map[string]string{"url": link, "expires": expires.UTC().Format(time.RFC3339)})
	}
	_, err := fmt.Fprintln(w, link)
	return err
}

// Validation prints what Validate found.
func Validation(w io.Writer, v launch.Validation, json bool) error {
	if json {
		return validationJSON(w, v)
	}
	p := &printer{w: w}
	for _, c := range v {
		switch {
		case c.Unreadable != nil:
			p.f("%s: error: %s", c.File, strings.TrimPrefix(strings.TrimPrefix(c.Unreadable.Error(), c.File), ": "))
		case len(c.Findings) == 0:
			p.f("%s: ok", c.File)
		case !c.Findings.HasErrors():
			Diagnostics(w, c.Findings)
			p.f("%s: ok, with warnings", c.File)
		case !c.Findings.Invalid():
			Diagnostics(w, c.Findings)
			p.f("%s: valid, but it can't run here yet: %d of its features are not supported", c.File, len(c.Findings.Unsupported()))
		default:
			Diagnostics(w, c.Findings)
		}
	}
	return p.err
}

func validationJSON(w io.Writer, v launch.Validation) error {
	type finding struct {
		Line     int    `json:"line,omitempty"`
		Column   int    `json:"column,omitempty"`
		Severity string `json:"severity"`
		Code     string `json:"code"`
		Message  string `json:"message"`
		Hint     string `json:"hint,omitempty"`
	}
	type file struct {
		File     string    `json:"file"`
		Valid    bool      `json:"valid"`
		Runnable bool      `json:"runnable"`
		Findings []finding `json:"findings"`
	}
	out := make([]file, 0, len(v))
	for _, c := range v {
		f := file{File: c.File, Valid: c.Unreadable == nil && !c.Findings.Invalid(), Runnable: c.Unreadable == nil && !c.Findings.HasErrors(),
			Findings: []finding{}}
		if c.Unreadable != nil {
			f.Findings = append(f.Findings, finding{Severity: diag.Error.String(), Code: "unreadable", Message: c.Unreadable.Error()})
		}
		for _, d := range c.Findings {
			f.Findings = append(f.Findings, finding{d.Line, d.Column, d.Word(), d.Code, d.Message, d.Hint})
		}
		out = append(out, f)
	}
	return Value(w, out)
}

// safeLines is safe, but keeps line breaks.
func safeLines(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i := range lines {
		lines[i] = safe(lines[i])
	}
	return strings.Join(lines, "\n")
}
