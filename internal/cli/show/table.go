package show

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/slipway-ci/slipway/internal/tui"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// table writes rows with aligned columns.
func table(w io.Writer, head string, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := fmt.Fprintln(tw, strings.ReplaceAll(head, " ", "\t")); err != nil {
		return err
	}
	for _, r := range rows {
		if _, err := fmt.Fprintln(tw, strings.Join(r, "\t")); err != nil {
			return err
		}
	}
	return tw.Flush()
}

// Runs writes a table of runs.
func Runs(w io.Writer, runs []*apiv1.Run, now time.Time) error {
	if len(runs) == 0 {
		_, err := fmt.Fprintln(w, "no runs yet: `slipway run` starts one")
		return err
	}
	var rows [][]string
	for _, r := range runs {
		rows = append(rows, []string{tui.Number(r), r.GetId(), wordOf(r), safe(r.GetName()),
			tui.Describe(r), took(r.GetCreatedMs(), r.GetEndedMs(), now), ago(r.GetCreatedMs(), now)})
	}
	return table(w, "NUMBER ID STATE NAME SOURCE TOOK CREATED", rows)
}

// Agents writes a table of agents.
func Agents(w io.Writer, agents []*apiv1.Agent, now time.Time) error {
	if len(agents) == 0 {
		_, err := fmt.Fprintln(w, "no agents have joined: `slipway agents join-token` makes a token for one")
		return err
	}
	var rows [][]string
	for _, a := range agents {
		rows = append(rows, []string{a.GetId(), safe(a.GetHostname()), agentState(a), a.GetPool(), safe(strings.Join(a.GetLabels(), ",")),
			fmt.Sprintf("%d/%d", a.GetSlotsUsed(), a.GetSlots()), fmt.Sprintf("%.1f", float64(a.GetCpuMilli())/1000), size(a.GetMemory()),
			a.GetVersion(), ago(a.GetLastSeenMs(), now)})
	}
	return table(w, "ID HOST STATE POOL LABELS SLOTS CPU MEMORY VERSION SEEN", rows)
}

// Artifacts writes a table of artifacts.
func Artifacts(w io.Writer, artifacts []*corev1.Artifact) error {
	if len(artifacts) == 0 {
		_, err := fmt.Fprintln(w, "the run has no artifacts")
		return err
	}
	var rows [][]string
	for _, a := range artifacts {
		rows = append(rows, []string{safe(a.GetName()), size(a.GetSize()), fmt.Sprint(a.GetFiles()), safe(a.GetJobId()), testsShort(a.GetTests()), a.GetDigest()})
	}
	return table(w, "NAME SIZE FILES JOB TESTS DIGEST", rows)
}

func testsShort(t *corev1.TestSummary) string {
	if t == nil {
		return "-"
	}
	return fmt.Sprintf("%d, %d failed", t.GetTests(), t.GetFailures()+t.GetErrors())
}

// safe keeps what others chose from talking to the terminal.
func safe(s string) string { return tui.Clean(s) }

func took(startMs, endMs int64, now time.Time) string {
	if startMs == 0 {
		return "-"
	}
	if endMs == 0 {
		endMs = now.UnixMilli()
	}
	return tui.Duration(time.Duration(endMs-startMs) * time.Millisecond)
}

func ago(ms int64, now time.Time) string {
	if ms == 0 {
		return "-"
	}
	d := now.Sub(time.UnixMilli(ms))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	}
	return time.UnixMilli(ms).Format("2006-01-02")
}

func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
