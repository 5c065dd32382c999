package web

import (
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/internal/tui"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// look is how a state shows: a colour by its class, and for who sees none a mark and a word.
type look struct{ Class, Mark, Word string }

func lookOf(class, word string) look {
	marks := map[string]string{"ok": "✓", "bad": "✗", "run": "●", "wait": "◌", "stop": "⊘", "skip": "–"}
	return look{class, marks[class], word}
}

func runLook(r *apiv1.Run) look {
	l := lookOf(runClass(r.GetState()), tui.RunWord(r.GetState()))
	if r.GetFlaky() {
		l.Word += " (flaky)"
	}
	return l
}

func runClass(s corev1.RunState) string {
	switch s {
	case corev1.RunState_RUN_STATE_RUNNING, corev1.RunState_RUN_STATE_FINISHING:
		return "run"
	case corev1.RunState_RUN_STATE_SUCCEEDED:
		return "ok"
	case corev1.RunState_RUN_STATE_FAILED:
		return "bad"
	case corev1.RunState_RUN_STATE_CANCELLED, corev1.RunState_RUN_STATE_CANCELLING:
		return "stop"
	case corev1.RunState_RUN_STATE_SKIPPED:
		return "skip"
	default:
		return "wait"
	}
}

func jobLook(s corev1.JobState) look {
	class := "wait"
	switch s {
	case corev1.JobState_JOB_STATE_RUNNING:
		class = "run"
	case corev1.JobState_JOB_STATE_SUCCEEDED:
		class = "ok"
	case corev1.JobState_JOB_STATE_FAILED, corev1.JobState_JOB_STATE_TIMED_OUT:
		class = "bad"
	case corev1.JobState_JOB_STATE_CANCELLED, corev1.JobState_JOB_STATE_CANCELLING:
		class = "stop"
	case corev1.JobState_JOB_STATE_SKIPPED:
		class = "skip"
	default:
	}
	return lookOf(class, tui.JobWord(s))
}

func stepLook(s corev1.StepState) look {
	class := "wait"
	switch s {
	case corev1.StepState_STEP_STATE_RUNNING:
		class = "run"
	case corev1.StepState_STEP_STATE_SUCCEEDED:
		class = "ok"
	case corev1.StepState_STEP_STATE_FAILED:
		class = "bad"
	case corev1.StepState_STEP_STATE_CANCELLED:
		class = "stop"
	case corev1.StepState_STEP_STATE_SKIPPED:
		class = "skip"
	default:
	}
	return lookOf(class, tui.StepWord(s))
}

// span is a length of time; one that still grows says since when, for the page's script.
type span struct {
	Text    string
	SinceMS int64
}

func spanOf(startMS, endMS int64, now time.Time) span {
	switch {
	case startMS == 0:
		return span{}
	case endMS == 0:
		return span{tui.Duration(now.Sub(time.UnixMilli(startMS))), startMS}
	}
	return span{Text: tui.Duration(time.Duration(endMS-startMS) * time.Millisecond)}
}

// instant is a moment, as people and machines read it.
type instant struct{ Machine, Text, Ago string }

func instantOf(ms int64, now time.Time) instant {
	if ms == 0 {
		return instant{}
	}
	t := time.UnixMilli(ms).UTC()
	return instant{t.Format(time.RFC3339), t.Format("2006-01-02 15:04:05 UTC"), ago(now.Sub(t))}
}

func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
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

func numberOf(r *apiv1.Run) string {
	if r.GetAttempt() > 1 {
		return fmt.Sprintf("#%d.%d", r.GetNumber(), r.GetAttempt())
	}
	return fmt.Sprintf("#%d", r.GetNumber())
}

// trouble is a failure as it is shown.
type trouble struct{ Code, Message string }

func troubleOf(f *corev1.Failure) *trouble {
	if f == nil {
		return nil
	}
	return &trouble{f.GetCode(), strings.TrimPrefix(strings.TrimSpace(f.GetMessage()), f.GetCode()+": ")}
}

// note is an annotation.
type note struct {
	look
	Where, Title, Message string
}

func notesOf(all []*corev1.Annotation) []note {
	var out []note
	for _, a := range all {
		n := note{look: lookOf("wait", a.GetLevel()), Title: a.GetTitle(), Message: a.GetMessage(), Where: a.GetFile()}
		switch a.GetLevel() {
		case "error":
			n.look = lookOf("bad", "error")
		case "warning":
			n.look = look{"stop", "!", "warning"}
		default:
			n.Mark = "i"
		}
		if a.GetFile() != "" && a.GetLine() > 0 {
			n.Where += fmt.Sprintf(":%d", a.GetLine())
		}
		out = append(out, n)
	}
	return out
}
