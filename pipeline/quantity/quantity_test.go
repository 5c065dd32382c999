package quantity

import "testing"

func TestCPU(t *testing.T) {
	for s, want := range map[string]int64{"2": 2000, "0.5": 500, "500m": 500, " 1 ": 1000, "1.5": 1500} {
		if got, err := CPU(s); err != nil || got != want {
			t.Errorf("%s: %d %v", s, got, err)
		}
	}
	for _, s := range []string{"", "x", "-1", "0", "1e3", "0.0001", "2 cores", "NaN"} {
		if got, err := CPU(s); err == nil {
			t.Errorf("%s: %d", s, got)
		}
	}
}

func TestBytes(t *testing.T) {
	for s, want := range map[string]int64{"512Mi": 512 << 20, "2g": 2 << 30, "1.5 GiB": 3 << 29, "1MB": 1e6, "1000": 1000, "1b": 1} {
		if got, err := Bytes(s); err != nil || got != want {
			t.Errorf("%s: %d %v", s, got, err)
		}
	}
	for _, s := range []string{"", "x", "Mi", "-1", "0", "1Zi", "1e9", "99999999Ti"} {
		if got, err := Bytes(s); err == nil {
			t.Errorf("%s: %d", s, got)
		}
	}
}
