package tui

import (
	"strconv"
	"strings"
	"time"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// Style says what a terminal can show.
type Style struct {
	// Colour allows SGR sequences.
	Colour bool
	// ASCII avoids every character beyond ASCII in what we draw ourselves.
	ASCII bool
}

// StyleFrom reads what the environment says: NO_COLOR (https://no-color.org), TERM, and the locale's character set.
func StyleFrom(getenv func(string) string) Style {
	locale := getenv("LC_ALL")
	if locale == "" {
		locale = getenv("LC_CTYPE")
	}
	if locale == "" {
		locale = getenv("LANG")
	}
	upper := strings.ToUpper(locale)
	utf8 := strings.Contains(upper, "UTF-8") || strings.Contains(upper, "UTF8")
	return Style{Colour: getenv("NO_COLOR") == "" && getenv("TERM") != "dumb", ASCII: !utf8}
}

// colour is an SGR parameter.
type colour string

const (
	plain  colour = ""
	bold   colour = "1"
	dim    colour = "2"
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
	cyan   colour = "36"
)

func (s Style) paint(c colour, text string) string {
	if !s.Colour || c == plain || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

func (s Style) ellipsis() string {
	if s.ASCII {
		return "..."
	}
	return "…"
}

func (s Style) bar() string {
	if s.ASCII {
		return "|"
	}
	return "│"
}

// look is how a state shows.
type look struct {
	glyph, ascii string
	colour       colour
	word         string
}

var (
	lookWaiting   = look{"·", ".", dim, "waiting"}
	lookQueued    = look{"◌", "o", dim, "queued"}
	lookRunning   = look{"●", "*", cyan, "running"}
	lookCancel    = look{"◍", "*", yellow, "cancelling"}
	lookSucceeded = look{"✓", "+", green, "succeeded"}
	lookFailed    = look{"✗", "x", red, "failed"}
	lookTimedOut  = look{"✗", "x", red, "timed out"}
	lookCancelled = look{"⊘", "!", yellow, "cancelled"}
	lookSkipped   = look{"-", "-", dim, "skipped"}
)

func (l look) mark(s Style) string {
	if s.ASCII {
		return l.ascii
	}
	return l.glyph
}

func jobLook(state corev1.JobState) look {
	switch state {
	case corev1.JobState_JOB_STATE_UNSPECIFIED, corev1.JobState_JOB_STATE_BLOCKED, corev1.JobState_JOB_STATE_WAITING:
		return lookWaiting
	case corev1.JobState_JOB_STATE_QUEUED, corev1.JobState_JOB_STATE_ASSIGNED:
		return lookQueued
	case corev1.JobState_JOB_STATE_RUNNING:
		return lookRunning
	case corev1.JobState_JOB_STATE_CANCELLING:
		return lookCancel
	case corev1.JobState_JOB_STATE_SUCCEEDED:
		return lookSucceeded
	case corev1.JobState_JOB_STATE_FAILED:
		return lookFailed
	case corev1.JobState_JOB_STATE_TIMED_OUT:
		return lookTimedOut
	case corev1.JobState_JOB_STATE_CANCELLED:
		return lookCancelled
	case corev1.JobState_JOB_STATE_SKIPPED:
		return lookSkipped
	}
	return lookWaiting
}

func runLook(state corev1.RunState) look {
	switch state {
	case corev1.RunState_RUN_STATE_UNSPECIFIED, corev1.RunState_RUN_STATE_CREATING, corev1.RunState_RUN_STATE_QUEUED:
		return lookQueued
	case corev1.RunState_RUN_STATE_WAITING:
		return lookWaiting
	case corev1.RunState_RUN_STATE_RUNNING, corev1.RunState_RUN_STATE_FINISHING:
		return lookRunning
	case corev1.RunState_RUN_STATE_CANCELLING:
		return lookCancel
	case corev1.RunState_RUN_STATE_SUCCEEDED:
		return lookSucceeded
	case corev1.RunState_RUN_STATE_FAILED:
		return lookFailed
	case corev1.RunState_RUN_STATE_CANCELLED:
		return lookCancelled
	case corev1.RunState_RUN_STATE_SKIPPED:
		return lookSkipped
	}
	return lookQueued
}

func stepLook(state corev1.StepState) look {
	switch state {
	case corev1.StepState_STEP_STATE_UNSPECIFIED, corev1.StepState_STEP_STATE_PENDING:
		return lookWaiting
	case corev1.StepState_STEP_STATE_RUNNING:
		return lookRunning
	case corev1.StepState_STEP_STATE_SUCCEEDED:
		return lookSucceeded
	case corev1.StepState_STEP_STATE_FAILED:
		return lookFailed
	case corev1.StepState_STEP_STATE_CANCELLED:
		return lookCancelled
	case corev1.StepState_STEP_STATE_SKIPPED:
		return lookSkipped
	}
	return lookWaiting
}

// RunWord, JobWord and StepWord are a state's name for people.
func RunWord(s corev1.RunState) string { return runLook(s).word }

// JobWord is a job state's name for people.
func JobWord(s corev1.JobState) string {
	if s == corev1.JobState_JOB_STATE_ASSIGNED {
		return "starting"
	}
	return jobLook(s).word
}

// StepWord is a step state's name for people.
func StepWord(s corev1.StepState) string { return stepLook(s).word }

// Duration is short and of even precision: 0.4s, 12.3s, 2m05s, 1h02m.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "0.0s"
	case d < 59950*time.Millisecond:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + "s"
	case d < time.Hour:
		d = d.Round(time.Second)
		return strconv.Itoa(int(d.Minutes())) + "m" + pad2(int(d.Seconds())%60) + "s"
	}
	d = d.Round(time.Minute)
	return strconv.Itoa(int(d.Hours())) + "h" + pad2(int(d.Minutes())%60) + "m"
}

func pad2(n int) string {
	if n < 10 {
		return "0" + strconv.Itoa(n)
	}
	return strconv.Itoa(n)
}

// JobMark is the coloured sign of a job's state.
func (s Style) JobMark(state corev1.JobState) string {
	l := jobLook(state)
	return s.paint(l.colour, l.mark(s))
}

// StepMark is the coloured sign of a step's state.
func (s Style) StepMark(state corev1.StepState) string {
	l := stepLook(state)
	return s.paint(l.colour, l.mark(s))
}
