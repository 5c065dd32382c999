package web

import (
	"time"

	"golang.org/x/text/width"

	"github.com/slipway-ci/slipway/coordinator/web/graph"
	"github.com/slipway-ci/slipway/internal/tui"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// picture is the graph of a run's jobs, ready to be drawn.
type picture struct {
	Width, Height int
	// Wide: it is made smaller where there is less room, to some degree.
	Wide  bool
	Boxes []pictureBox
	Edges []pictureEdge
}

type pictureBox struct {
	look
	graph.Box
	Full, Name, Detail, Href string
}

type pictureEdge struct {
	Path string
	// Done: what it leads from has succeeded.
	Done bool
}

// wide is the width down to which a picture may be made smaller: its texts can be read then still.
const wide = 960

// draw makes a picture of a run that has more than one job and not too many; nil else.
func draw(run *apiv1.Run, now time.Time) *picture {
	jobs := run.GetJobs()
	if len(jobs) < 2 {
		return nil
	}
	nodes := make([]graph.Node, len(jobs))
	for i, j := range jobs {
		nodes[i] = graph.Node{ID: j.GetId(), Needs: j.GetNeeds()}
	}
	laid, ok := graph.Layout(nodes)
	if !ok {
		return nil
	}
	p := &picture{Width: laid.Width, Height: laid.Height, Wide: laid.Width > wide}
	for i, b := range laid.Boxes {
		j := jobs[i]
		l := jobLook(j.GetState())
		detail := l.Word
		if took := spanOf(j.GetStartedMs(), j.GetEndedMs(), now); took.Text != "" && took.SinceMS == 0 {
			detail += " · " + took.Text
		}
		name := tui.JobName(j)
		p.Boxes = append(p.Boxes, pictureBox{look: l, Box: b, Full: name, Name: shorten(name, 22), Detail: shorten(detail, 25), Href: jobPath(run.GetId(), j.GetId())})
	}
	for _, e := range laid.Edges {
		p.Edges = append(p.Edges, pictureEdge{Path: e.Path, Done: jobLook(jobs[e.From].GetState()).Class == "ok"})
	}
	return p
}

// shorten cuts a text to so many columns; a wide character takes two.
func shorten(s string, columns int) string {
	n, cut := 0, 0
	for i, r := range s {
		if n <= columns-1 {
			cut = i
		}
		if k := width.LookupRune(r).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
			n++
		}
		if n++; n > columns {
			return s[:cut] + "…"
		}
	}
	return s
}

// Places of the texts in a box.

// MarkX is the middle of the mark.
func (b pictureBox) MarkX() int { return b.X + 18 }

// TextX is where name and detail begin.
func (b pictureBox) TextX() int { return b.X + 34 }

// MidY is the base line of the mark.
func (b pictureBox) MidY() int { return b.Y + b.Height/2 + 6 }

// NameY is the base line of the name.
func (b pictureBox) NameY() int { return b.Y + 20 }

// DetailY is the base line of the detail.
func (b pictureBox) DetailY() int { return b.Y + 36 }
