// Package diag holds what the compiler finds: each finding with its place, its reason and what to do about it.
package diag

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity says whether a finding stops the compilation.
type Severity uint8

// Severities.
const (
	Error Severity = iota
	Warning
)

// String returns "error" or "warning".
func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// NotSupported is the code of errors about a file that is right, and that Slipway can't run yet.
const NotSupported = "not-supported"

// Diagnostic is one finding.
type Diagnostic struct {
	// Path of the workflow file, as the caller named it.
	Path string
	// Line and Column count from 1, Column in characters; 0 when the finding has no place (a file too large, say).
	Line, Column int
	Severity     Severity
	// Code is stable and kebab-case.
	Code string
	// Message says what is wrong and why.
	Message string
	// Hint says what to do; may be empty.
	Hint string
}

// Unsupported reports whether the finding says what Slipway can't do yet. No run starts with one, though the file may be valid.
func (d Diagnostic) Unsupported() bool { return d.Severity == Error && d.Code == NotSupported }

// Word is the finding's kind as people read it: error, warning or unsupported.
func (d Diagnostic) Word() string {
	if d.Unsupported() {
		return "unsupported"
	}
	return d.Severity.String()
}

// String is path:line:col: word: message (code), then the hint on a line of its own.
func (d Diagnostic) String() string {
	var b strings.Builder
	b.WriteString(d.Path)
	if d.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", d.Line, d.Column)
	}
	fmt.Fprintf(&b, ": %s: %s (%s)", d.Word(), d.Message, d.Code)
	if d.Hint != "" {
		b.WriteString("\n  hint: ")
		b.WriteString(d.Hint)
	}
	return b.String()
}

// List is all the findings of one compilation.
type List []Diagnostic

// HasErrors reports whether any finding is an Error.
func (l List) HasErrors() bool {
	return slices.ContainsFunc(l, func(d Diagnostic) bool { return d.Severity == Error })
}

// Invalid reports whether any finding is an error about the file itself, and not only about what Slipway can't do yet.
func (l List) Invalid() bool {
	return slices.ContainsFunc(l, func(d Diagnostic) bool { return d.Severity == Error && !d.Unsupported() })
}

// Unsupported are the findings about what Slipway can't do yet.
func (l List) Unsupported() List {
	var out List
	for _, d := range l {
		if d.Unsupported() {
			out = append(out, d)
		}
	}
	return out
}

// Sort orders by path, place, severity and message, and drops exact repeats.
func (l List) Sort() List {
	slices.SortStableFunc(l, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message),
		)
	})
	return slices.Compact(l)
}

// String is one Diagnostic after the other, each ended by a newline.
func (l List) String() string {
	var b strings.Builder
	for _, d := range l {
		b.WriteString(d.String())
		b.WriteByte('\n')
	}
	return b.String()
}
