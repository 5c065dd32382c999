package planview

import (
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/internal/tui"
)

// label is the width of what stands before a job's details.
const label = 9

// writeText writes workflows as trees. width is that of the terminal, 0 where lines need not be cut.
func writeText(w io.Writer, all []*Workflow, style tui.Style, width int) error {
	p := &printer{w: w, style: style, width: width}
	for i, wf := range all {
		if i > 0 {
			p.line("", "")
		}
		p.workflow(wf)
	}
	return p.err
}

type printer struct {
	w     io.Writer
	style tui.Style
	width int
	err   error
}

// line writes what is drawn, and the text behind it, cut to the width and then painted.
func (p *printer) line(drawn, text string, paint ...func(string) string) {
	if p.err != nil {
		return
	}
	columns := 0
	if p.width > 0 {
		columns = max(p.width-tui.Width(drawn), 10)
	}
	text = p.style.Fit(strings.TrimRight(tui.Clean(text), " "), columns)
	for _, f := range paint {
		text = f(text)
	}
	_, p.err = fmt.Fprintln(p.w, strings.TrimRight(p.style.Dim(drawn)+text, " "))
}

// note writes a text over as many lines as it needs.
func (p *printer) note(drawn, rest, text string, paint ...func(string) string) {
	columns := 80
	if p.width > 0 {
		columns = p.width
	}
	for _, l := range wrap(tui.Clean(text), max(columns-tui.Width(drawn), 20)) {
		p.line(drawn, l, paint...)
		drawn = rest
	}
}

// wrap breaks at spaces; a word that is too long stays whole.
func wrap(text string, columns int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && tui.Width(line)+1+tui.Width(word) > columns {
			lines = append(lines, line)
			line = word
			continue
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

func (p *printer) workflow(w *Workflow) {
	title := w.Name
	if w.Path != w.Name {
		title += " (" + w.Path + ")"
	}
	p.line("", title, p.style.Bold)
	on := w.Event
	if ref := shortRef(w.Ref); ref != "" && w.Event == "push" {
		on += " to " + ref
	}
	switch {
	case w.Starts:
		p.line("", "starts on "+on)
	default:
		p.note("", "", "does not start on "+on+": "+w.Reason, p.style.Warn)
	}
	if w.Concurrency != "" {
		p.line("", "one run at a time in the group "+w.Concurrency)
	}
	p.jobs("", w.Jobs)
	p.images(w)
	for _, a := range w.Aliases {
		line := fmt.Sprintf("alias: %s runs as the native step %s", a.Uses, a.Native)
		if len(a.Ignored) > 0 {
			line += "; ignored inputs: " + strings.Join(a.Ignored, ", ")
		}
		p.note("", "  ", line)
	}
	if !w.Resolved && w.Unresolved != "" {
		p.note("", "  ", "images are named, not resolved: "+w.Unresolved, p.style.Dim)
	}
	if !w.Runnable {
		p.note("", "  ", "this can't run yet: what is marked with ! is not supported, and `slipway run` refuses it", p.style.Bad)
	}
}

// images are those that no job shows by itself: an expression names them.
func (p *printer) images(w *Workflow) {
	shown := map[string]bool{}
	for j := range all(w.Jobs) {
		if j.Image != nil {
			shown[j.Image.Reference] = true
		}
		for _, s := range j.Services {
			shown[s.Reference] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.Images)) {
		if !shown[w.Images[name]] {
			p.line("", "image: "+p.image(Image{Name: name, Reference: w.Images[name]}))
		}
	}
}

// all are the jobs with those of the workflows that they call.
func all(jobs []*Job) iter.Seq[*Job] {
	return func(yield func(*Job) bool) {
		for _, j := range jobs {
			if !yield(j) {
				return
			}
			for inner := range all(j.Jobs) {
				if !yield(inner) {
					return
				}
			}
		}
	}
}

// jobs writes a list of jobs, each with what it calls beneath it.
func (p *printer) jobs(prefix string, list []*Job) {
	for i, j := range list {
		p.job(prefix, j, i == len(list)-1)
	}
}

func (p *printer) job(prefix string, j *Job, last bool) {
	branch, bar := "├─ ", "│    "
	if p.style.ASCII {
		branch, bar = "|- ", "|    "
	}
	if last {
		branch, bar = "└─ ", "     "
		if p.style.ASCII {
			branch = "`- "
		}
	}
	branch, bar = prefix+branch, prefix+bar
	title := j.ID
	if j.Name != "" {
		title += "  " + j.Name
	}
	paint := p.style.Bold
	if j.Skipped != "" {
		paint = p.style.Dim
	}
	p.line(branch, title, paint)
	p.details(bar, j)
	for i, s := range j.Steps {
		p.step(bar, i+1, s)
	}
	p.jobs(bar, j.Jobs)
	p.detail(bar, "not shown", j.NotShown)
}

func (p *printer) detail(bar, name, text string, paint ...func(string) string) {
	if text == "" {
		return
	}
	p.line(bar+name+strings.Repeat(" ", max(label-len(name), 1)), text, paint...)
}

func (p *printer) details(bar string, j *Job) {
	runs := strings.Join(j.RunsOn, ", ")
	if len(j.Pool) > 0 {
		runs += " in pool " + strings.Join(j.Pool, ", ")
	}
	p.detail(bar, "runs on", runs)
	if j.Image != nil {
		p.detail(bar, "image", p.image(*j.Image))
	}
	for _, s := range j.Services {
		p.detail(bar, "service", s.Service+": "+p.image(s))
	}
	p.detail(bar, "calls", j.Calls)
	p.detail(bar, "after", strings.Join(j.Needs, ", "))
	p.matrix(bar, j.Matrix)
	if j.Concurrency != "" {
		p.detail(bar, "group", j.Concurrency)
	}
	p.detail(bar, "if", j.If)
	if j.Skipped != "" {
		p.detail(bar, "skipped", j.Skipped, p.style.Warn)
	}
	for _, u := range j.Unsupported {
		p.note(bar+"! ", bar+"  ", u, p.style.Bad)
	}
}

// image is short on a terminal, whole elsewhere.
func (p *printer) image(i Image) string {
	name, digest, ok := strings.Cut(i.Reference, "@")
	if !ok {
		return i.Name
	}
	if hex, isSHA := strings.CutPrefix(digest, "sha256:"); isSHA && p.width > 0 && len(hex) > 12 {
		digest = "sha256:" + hex[:12] + "…"
		if p.style.ASCII {
			digest = "sha256:" + hex[:12] + "..."
		}
	}
	if i.Name != "" && i.Name != name {
		return i.Name + " is " + name + "@" + digest
	}
	return name + "@" + digest
}

// mostLegs are named in the text; the JSON has all.
const mostLegs = 12

func (p *printer) matrix(bar string, m *Matrix) {
	switch {
	case m == nil:
		return
	case m.Dynamic != "":
		p.detail(bar, "matrix", "of what "+m.Dynamic+" gives")
		return
	}
	text := fmt.Sprintf("%d jobs", len(m.Legs))
	if len(m.Legs) == 1 {
		text = "1 job"
	}
	if m.MaxParallel != "" {
		text += ", " + m.MaxParallel + " at once"
	}
	p.detail(bar, "matrix", text)
	for i, leg := range m.Legs {
		if i == mostLegs {
			p.line(bar+strings.Repeat(" ", label), fmt.Sprintf("and %d more", len(m.Legs)-i), p.style.Dim)
			break
		}
		p.line(bar+strings.Repeat(" ", label), leg)
	}
}

func (p *printer) step(bar string, n int, s *Step) {
	var what string
	switch first, more, _ := strings.Cut(strings.TrimSpace(s.Run), "\n"); {
	case s.Native != "":
		what = s.Uses + " as " + s.Native
	case s.Action != "":
		what = s.Uses + ", a " + s.Action + " action"
	case s.Uses != "":
		what = s.Uses
	case strings.TrimSpace(more) != "":
		what = first + " …"
		if p.style.ASCII {
			what = first + " ..."
		}
	default:
		what = first
	}
	if s.Image != "" {
		what += "  in " + s.Image
	}
	if s.Name != "" {
		what = s.Name + ": " + what
	}
	number := fmt.Sprintf("%2d. ", n)
	indent := bar + strings.Repeat(" ", len(number))
	switch {
	case len(s.Unsupported) > 0:
		p.line(bar+"! "+strings.TrimLeft(number, " "), what, p.style.Bad)
		for _, u := range s.Unsupported {
			p.note(indent, indent, u, p.style.Dim)
		}
	case s.Skipped != "":
		p.line(bar+number, what, p.style.Dim)
	default:
		p.line(bar+number, what)
	}
	if s.If != "" {
		p.line(indent, "if "+s.If, p.style.Dim)
	}
	if s.Skipped != "" {
		p.line(indent, "skipped: "+s.Skipped, p.style.Warn)
	}
	for i, inner := range s.Steps {
		p.step(indent, i+1, inner)
	}
}
