package supervisor

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBecome runs itself, which becomes a shell.
func TestBecome(t *testing.T) {
	if file := os.Getenv("BECOME"); file != "" {
		t.Fatal(Become(file, strings.Fields(os.Getenv("COMMAND"))))
	}
	file := filepath.Join(t.TempDir(), "environ")
	for _, tt := range []struct{ entries, command, want string }{
		{`["A=planted","B=x=y","C="]`, "sh -c printenv${IFS}A${IFS}B${IFS}C${IFS}D", "planted\nx=y\n\nbefore\n"},
		{`["A=planted"]`, "no-such-command", "executable file not found"},
		{`[`, "true", "can't be read"},
		{`["=planted"]`, "true", "the variable"},
	} {
		if err := os.WriteFile(file, []byte(tt.entries), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBecome$")
		cmd.Env = append(os.Environ(), "BECOME="+file, "COMMAND="+tt.command, "D=before")
		out, err := cmd.CombinedOutput()
		if good := strings.HasSuffix(tt.want, "\n"); good && (err != nil || string(out) != tt.want) || !good && !strings.Contains(string(out), tt.want) {
			t.Errorf("%s: %q, %v, want %q", tt.command, out, err, tt.want)
		}
		if strings.Contains(string(out), "planted") && !strings.HasPrefix(tt.command, "sh") {
			t.Errorf("%s: the error tells the value: %s", tt.command, out)
		}
	}
}
