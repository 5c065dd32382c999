package reports

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

const jest = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="jest tests" tests="4" failures="1" errors="0" time="1.5">
  <testsuite name="greeting" errors="0" failures="1" skipped="1" tests="3">
    <testcase classname="greeting" name="greets" time="0.0125"/>
    <testcase classname="greeting" name="refuses" time="1,000.5"><failure>Error: expected 1
    at x.js</failure></testcase>
    <testcase name="later" time="0"><skipped/></testcase>
  </testsuite>
  <testsuite name="health"><testcase name="boom"><error message="no database" type="E"/><system-out><![CDATA[x]]></system-out></testcase></testsuite>
</testsuites>`

func TestJUnit(t *testing.T) {
	sum := &corev1.TestSummary{Tests: 10}
	if err := JUnit(strings.NewReader(jest), sum, asItIs); err != nil {
		t.Fatal(err)
	}
	if sum.Tests != 14 || sum.Failures != 1 || sum.Errors != 1 || sum.Skipped != 1 || sum.DurationMs != 1000513 {
		t.Errorf("summary %v", sum)
	}
	if len(sum.Failed) != 2 || sum.Failed[0].Message != "Error: expected 1\n    at x.js" || sum.Failed[1].Suite != "health" || sum.Failed[1].Message != "no database" {
		t.Errorf("failed %v", sum.Failed)
	}
}

func TestJUnitRefusesWhatIsNot(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "other root": "<coverage/>", "not xml": "hello", "binary": "\x00\x01\x7fELF", "json": "{}"} {
		if err := JUnit(strings.NewReader(text), &corev1.TestSummary{}, asItIs); !errors.Is(err, ErrNotJUnit) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestJUnitSurvivesHostileFiles(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString(`<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">`)
	for i := range 20 {
		fmt.Fprintf(&bomb, `<!ENTITY a%d "&a;&a;&a;&a;">`, i)
	}
	bomb.WriteString(`]><testsuite><testcase name="&a19;"/></testsuite>`)
	cases := map[string]string{
		"entities":   bomb.String(),
		"external":   `<!DOCTYPE t [<!ENTITY x SYSTEM "file:///etc/passwd">]><testsuite><testcase name="&x;"/></testsuite>`,
		"deep":       strings.Repeat("<testsuite>", 1000),
		"unfinished": `<testsuite><testcase name="a">`,
		"encoding":   `<?xml version="1.0" encoding="EBCDIC"?><testsuite/>`,
	}
	for name, text := range cases {
		sum := &corev1.TestSummary{}
		if err := JUnit(strings.NewReader(text), sum, asItIs); err == nil || sum.Tests != 0 {
			t.Errorf("%s: error %v, summary %v", name, err, sum)
		}
	}
}

func TestJUnitBoundsWhatItKeeps(t *testing.T) {
	var b strings.Builder
	b.WriteString("<testsuite>")
	for i := range 200 {
		fmt.Fprintf(&b, `<testcase name="%s%d" time="-1"><failure message="%s"/></testcase>`, strings.Repeat("é", 400), i, strings.Repeat("x", 4000))
	}
	b.WriteString("</testsuite>")
	sum := &corev1.TestSummary{}
	if err := JUnit(strings.NewReader(b.String()), sum, asItIs); err != nil {
		t.Fatal(err)
	}
	if sum.Tests != 200 || sum.Failures != 200 || len(sum.Failed) != MaxFailed || sum.DurationMs != 0 {
		t.Errorf("%d tests, %d failures, %d listed, %d ms", sum.Tests, sum.Failures, len(sum.Failed), sum.DurationMs)
	}
	for _, c := range sum.Failed {
		if len(c.Name) > maxText || len(c.Message) > maxText || !utf8.ValidString(c.Name) {
			t.Errorf("not clipped: %d, %d bytes", len(c.Name), len(c.Message))
		}
	}
}

func FuzzJUnit(f *testing.F) {
	f.Add(jest)
	f.Fuzz(func(_ *testing.T, text string) { _ = JUnit(strings.NewReader(text), &corev1.TestSummary{}, asItIs) })
}

func asItIs(s string) string { return s }

// TestTextsAreMaskedBeforeTheyAreCut: half a secret at the end of a long text would not be found any more.
func TestTextsAreMaskedBeforeTheyAreCut(t *testing.T) {
	const secret = "s3cr3t-and-long"
	for _, text := range []string{
		`<testsuite><testcase name="` + secret + ` a" classname="` + secret + `"><failure message="` + strings.Repeat("x", maxText-4) + secret + `"/></testcase></testsuite>`,
		`<testsuite name="` + secret + `"><testcase name="a"><error>` + strings.Repeat("x", maxText-4) + "s3cr3t&#45;and" + `<![CDATA[-long]]></error></testcase></testsuite>`,
	} {
		sum := &corev1.TestSummary{}
		if err := JUnit(strings.NewReader(text), sum, func(s string) string { return strings.ReplaceAll(s, secret, "***") }); err != nil {
			t.Fatal(err)
		}
		if all := sum.String(); strings.Contains(all, "s3c") || !strings.Contains(all, "***") || len(sum.GetFailed()) != 1 {
			t.Errorf("%s", all)
		}
	}
}
