package lint

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// Allow takes the warnings out of found that a comment allows, and adds one for each such comment that allows nothing:
//
//	# slipway: allow CODE: reason
//	# slipway: allow CODE, CODE: reason
//
// Behind a line it holds for that line. On a line of its own it holds for the line below; above a step or a job, for all of
// it; above everything, for the file. Without a reason it does not hold. Errors can't be allowed.
func Allow(f *syntax.File, src []byte, found diag.List) diag.List {
	comments := readComments(f, string(src))
	if len(comments) == 0 {
		return found
	}
	byCode := map[string][]*allowance{}
	for _, a := range comments {
		byCode[a.code] = append(byCode[a.code], a)
	}
	var kept diag.List
	for _, d := range found {
		allowed := false
		for _, a := range byCode[d.Code] {
			if a.reason != "" && d.Severity == diag.Warning && a.from <= d.Line && d.Line <= a.to {
				a.used, allowed = true, true
			}
			a.exists = true
		}
		if !allowed {
			kept = append(kept, d)
		}
	}
	return append(kept, complaints(f, comments)...)
}

// allowance is one code that a comment names.
type allowance struct {
	code, reason string
	line, column int
	// from and to are the lines that it holds for.
	from, to int
	// used: it took a finding out. exists: some finding has the code, so it is one.
	used, exists bool
}

var allowComment = regexp.MustCompile(`#[ \t]*slipway:[ \t]*allow\b([^:\r\n]*)(?::([^\r\n]*))?`)

func readComments(f *syntax.File, src string) []*allowance {
	if !strings.Contains(src, "slipway:") {
		return nil
	}
	var out []*allowance
	var waiting []*allowance // for the next line that is no comment
	extents := extentsOf(f)
	begun := false
	for i, text := range strings.Split(src, "\n") {
		line := i + 1
		m := allowComment.FindStringSubmatchIndex(text)
		trimmed := strings.TrimSpace(text)
		own := m != nil && strings.TrimSpace(text[:m[0]]) == ""
		if m != nil {
			reason := ""
			if m[4] >= 0 {
				reason = strings.TrimSpace(text[m[4]:m[5]])
			}
			for _, code := range codes(text[m[2]:m[3]]) {
				a := &allowance{code: code, reason: reason, line: line, column: len([]rune(text[:m[0]])) + 1, from: line, to: line}
				out = append(out, a)
				if own {
					waiting = append(waiting, a)
				}
			}
		}
		if trimmed == "" || strings.HasPrefix(trimmed, "#") {
			continue
		}
		for _, a := range waiting {
			if a.from, a.to = line, line; !begun {
				a.to = 1 << 30
			} else if end, ok := extents[line]; ok {
				a.to = end
			}
		}
		waiting, begun = nil, true
	}
	return out
}

func codes(list string) []string {
	names := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
	if len(names) == 0 {
		return []string{""}
	}
	return names
}

// extentsOf maps the line on which a step or job begins to its last one.
func extentsOf(f *syntax.File) map[int]int {
	type begin struct {
		line int
		job  bool
	}
	var all []begin
	for _, j := range f.Jobs {
		all = append(all, begin{j.ID.Pos.Line, true})
		for _, s := range j.Steps {
			all = append(all, begin{s.Pos.Line, false})
		}
	}
	slices.SortStableFunc(all, func(a, b begin) int { return cmp.Compare(a.line, b.line) })
	out := make(map[int]int, len(all))
	nextAny, nextJob := 1<<30, 1<<30
	for _, b := range slices.Backward(all) {
		end := nextAny
		if b.job {
			end, nextJob = nextJob, b.line
		}
		nextAny = b.line
		out[b.line] = max(end-1, b.line)
	}
	return out
}

// maxComplaints bounds what is said about comments.
const maxComplaints = 50

func complaints(f *syntax.File, comments []*allowance) diag.List {
	var out diag.List
	for _, a := range comments {
		_, known := Codes[a.code]
		d := diag.Diagnostic{Path: f.Path, Line: a.line, Column: a.column, Severity: diag.Warning}
		switch {
		case len(out) >= maxComplaints || a.used:
			continue
		case a.code == "":
			d.Code, d.Message, d.Hint = BadAllow, "this comment allows nothing: it names no finding", "write # slipway: allow CODE: reason"
		case !known && !a.exists:
			d.Code, d.Message, d.Hint = BadAllow, "there is no finding `"+clip(a.code)+"` to allow", diag.DidYouMean(a.code, names())
		case a.reason == "":
			d.Code, d.Message, d.Hint = BadAllow, "`"+a.code+"` is not allowed without a reason", "write # slipway: allow "+a.code+": reason"
		default:
			d.Code, d.Message, d.Hint = UnusedAllow, "nothing here is found that `"+a.code+"` would allow", "take the comment out"
		}
		out = append(out, d)
	}
	return out
}

func names() []string {
	out := make([]string, 0, len(Codes))
	for code := range Codes {
		out = append(out, code)
	}
	slices.Sort(out)
	return out
}
