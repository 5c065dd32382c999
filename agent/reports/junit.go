// Package reports reads the test results that lie in uploaded artifacts. The files come from a build: nothing in them is
// trusted, everything is bounded.
package reports

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// Bounds of one file and of a summary.
const (
	// MaxFile is how many bytes of a file are read.
	MaxFile = 64 << 20
	// MaxFailed is how many failed cases a summary lists.
	MaxFailed = 50
	maxText   = 500
	maxDepth  = 100
	// maxBody is what is read of a failure's body, before it is masked and cut.
	maxBody = 1 << 20
)

// ErrNotJUnit: the root element is neither testsuites nor testsuite, or it is no XML at all.
var ErrNotJUnit = errors.New("reports: not a JUnit file")

// JUnit adds what a JUnit XML file says to sum, case by case (a suite's own counters are often wrong), with every text of
// it as hide makes it, before it is cut. Entities beyond XML's five, encodings other than UTF-8 and ASCII, and nesting
// deeper than 100 are errors; sum is then as it was.
func JUnit(r io.Reader, sum *corev1.TestSummary, hide func(string) string) error {
	p := &parser{limited: &io.LimitedReader{R: r, N: MaxFile + 1}, hide: hide}
	d := xml.NewDecoder(p.limited)
	if err := p.parse(d); err != nil {
		return err
	}
	sum.Tests += p.sum.Tests
	sum.Failures += p.sum.Failures
	sum.Errors += p.sum.Errors
	sum.Skipped += p.sum.Skipped
	sum.DurationMs += p.sum.DurationMs
	for _, c := range p.sum.Failed {
		if len(sum.Failed) < MaxFailed {
			sum.Failed = append(sum.Failed, c)
		}
	}
	return nil
}

type parser struct {
	limited *io.LimitedReader
	hide    func(string) string
	sum     corev1.TestSummary
	depth   int
	suites  []string
	current *testCase
	// text collects a failure's body while message is empty.
	inFailure bool
	text      strings.Builder
}

type testCase struct {
	suite, name, message string
	failure, err, skip   bool
	millis               int64
}

func (p *parser) parse(d *xml.Decoder) error {
	root := true
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			if root {
				return ErrNotJUnit
			}
			return nil
		}
		if p.limited.N == 0 {
			return fmt.Errorf("reports: the file is larger than %d MiB", MaxFile>>20)
		}
		if err != nil {
			if root {
				return fmt.Errorf("%w: %w", ErrNotJUnit, err)
			}
			return fmt.Errorf("reports: %w", err)
		}
		switch t := tok.(type) {
		case xml.StartElement:
			if root && t.Name.Local != "testsuites" && t.Name.Local != "testsuite" {
				return fmt.Errorf("%w: its root is %.40s", ErrNotJUnit, t.Name.Local)
			}
			root = false
			if p.depth++; p.depth > maxDepth {
				return fmt.Errorf("reports: elements nest deeper than %d", maxDepth)
			}
			p.start(t)
		case xml.EndElement:
			p.depth--
			p.end(t.Name.Local)
		case xml.CharData:
			if p.inFailure {
				p.text.Write(t[:min(len(t), maxBody-p.text.Len())])
			}
		}
	}
}

func (p *parser) start(t xml.StartElement) {
	attr := func(name string) string {
		for _, a := range t.Attr {
			if a.Name.Local == name {
				return a.Value
			}
		}
		return ""
	}
	switch t.Name.Local {
	case "testsuite":
		p.suites = append(p.suites, p.clip(attr("name")))
	case "testcase":
		c := &testCase{name: p.clip(attr("name")), suite: p.clip(attr("classname")), millis: millis(attr("time"))}
		if c.suite == "" && len(p.suites) > 0 {
			c.suite = p.suites[len(p.suites)-1]
		}
		p.current = c
	case "failure", "error":
		if p.current == nil || p.current.failure || p.current.err {
			return
		}
		p.current.failure = t.Name.Local == "failure"
		p.current.err = !p.current.failure
		p.current.message = p.clip(attr("message"))
		p.inFailure = p.current.message == ""
		p.text.Reset()
	case "skipped", "disabled":
		if p.current != nil {
			p.current.skip = true
		}
	}
}

func (p *parser) end(name string) {
	switch name {
	case "testsuite":
		if n := len(p.suites); n > 0 {
			p.suites = p.suites[:n-1]
		}
	case "failure", "error":
		if p.inFailure && p.current != nil {
			p.current.message = p.clip(strings.TrimSpace(p.text.String()))
		}
		p.inFailure = false
	case "testcase":
		if p.current != nil {
			p.count(p.current)
		}
		p.current = nil
	}
}

func (p *parser) count(c *testCase) {
	p.sum.Tests++
	p.sum.DurationMs += c.millis
	switch {
	case c.err:
		p.sum.Errors++
	case c.failure:
		p.sum.Failures++
	case c.skip:
		p.sum.Skipped++
	}
	if (c.err || c.failure) && len(p.sum.Failed) < MaxFailed {
		p.sum.Failed = append(p.sum.Failed, &corev1.TestCase{Suite: c.suite, Name: c.name, Message: c.message})
	}
}

// millis reads seconds as JUnit writes them, also with thousands separators; nonsense is 0.
func millis(s string) int64 {
	f, err := strconv.ParseFloat(strings.ReplaceAll(strings.TrimSpace(s), ",", ""), 64)
	if err != nil || math.IsNaN(f) || f < 0 || f > float64(365*24*time.Hour/time.Second) {
		return 0
	}
	return int64(math.Round(f * 1000))
}

// clip masks, and shortens to maxText bytes of valid UTF-8: in this order, as half a secret would not be found.
func (p *parser) clip(s string) string {
	s = p.hide(s)
	if len(s) > maxText {
		s = s[:maxText]
		for len(s) > 0 && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]) {
			s = s[:len(s)-1]
		}
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
