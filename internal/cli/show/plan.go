package show

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// Plans writes compiled workflows as trees of jobs and steps.
func Plans(w io.Writer, plans []*planv1.Plan) error {
	p := &printer{w: w}
	for i, pl := range plans {
		if i > 0 {
			p.f("")
		}
		p.plan(pl)
	}
	return p.err
}

func (p *printer) plan(pl *planv1.Plan) {
	p.f("%s (%s) on %s", safe(pl.GetName()), safe(pl.GetPath()), strings.Join(pl.GetEvents(), ", "))
	jobs := pl.GetJobs()
	for i, j := range jobs {
		branch, bar := "├─ ", "│    "
		if i == len(jobs)-1 {
			branch, bar = "└─ ", "     "
		}
		p.f("%s%s", branch, planJob(j))
		p.planDetails(bar, j)
		for n, s := range j.GetSteps() {
			p.f("%s%d. %s", bar, n+1, planStep(s))
		}
	}
	for _, a := range pl.GetAliases() {
		line := fmt.Sprintf("alias: %s runs as the native step %s", safe(a.GetUses()), a.GetNative())
		if len(a.GetIgnoredInputs()) > 0 {
			line += "; ignored inputs: " + safe(strings.Join(a.GetIgnoredInputs(), ", "))
		}
		p.f("%s", line)
	}
	for _, name := range slices.Sorted(maps.Keys(pl.GetImages())) {
		p.f("image: %s is %s", safe(name), safe(pl.GetImages()[name]))
	}
}

func planJob(j *planv1.Job) string {
	line := safe(j.GetId())
	if n := value(j.GetName()); n != "" && n != j.GetId() {
		line += " “" + n + "”"
	}
	if len(j.GetNeeds()) > 0 {
		line += "  needs " + strings.Join(j.GetNeeds(), ", ")
	}
	var labels []string
	for _, l := range append(slices.Clone(j.GetRunsOn()), j.GetPool()...) {
		labels = append(labels, value(l))
	}
	if len(labels) > 0 {
		line += "  on " + strings.Join(labels, ", ")
	}
	if c := j.GetCondition(); c != "" && c != "success()" {
		line += "  if " + safe(c)
	}
	return line
}

func (p *printer) planDetails(bar string, j *planv1.Job) {
	if s := j.GetStrategy(); s != nil {
		switch {
		case s.GetMatrix() != nil:
			p.f("%smatrix: %s", bar, value(s.GetMatrix()))
		case len(s.GetLegs()) > 0:
			p.f("%smatrix of %d:", bar, len(s.GetLegs()))
			for _, l := range s.GetLegs() {
				p.f("%s  %s", bar, safe(l))
			}
		}
	}
	if c := j.GetContainer(); c != nil {
		p.f("%scontainer: %s", bar, value(c.GetImage()))
	}
	for _, s := range j.GetServices() {
		p.f("%sservice %s: %s", bar, safe(s.GetName()), value(s.GetContainer().GetImage()))
	}
}

func planStep(s *planv1.Step) string {
	name := value(s.GetName())
	what := ""
	switch {
	case s.GetRun() != nil:
		first, more, _ := strings.Cut(strings.TrimSpace(value(s.GetRun().GetScript())), "\n")
		if what = "run: " + safe(first); strings.TrimSpace(more) != "" {
			what += " …"
		}
	case s.GetNative() != nil:
		what = s.GetNative().GetName() + " (" + s.GetNative().GetUses() + ")"
	}
	if name != "" && !strings.HasSuffix(what, name) {
		what = name + "  " + what
	}
	if c := s.GetCondition(); c != "" && c != "success()" {
		what += "  if " + c
	}
	first, _, _ := strings.Cut(what, "\n")
	return safe(first)
}

// value shows a literal as it is and an expression in its braces.
func value(v *planv1.Value) string {
	switch k := v.GetKind().(type) {
	case *planv1.Value_Literal:
		return k.Literal
	case *planv1.Value_Expr:
		return "${{ " + k.Expr + " }}"
	}
	return ""
}

// safeLines is safe, but keeps line breaks.
func safeLines(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i := range lines {
		lines[i] = safe(lines[i])
	}
	return strings.Join(lines, "\n")
}
