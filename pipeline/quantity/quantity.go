// Package quantity reads amounts as people write them: cores, bytes.
package quantity

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// CPU reads cores ("2", "0.5") or thousandths ("500m") and returns thousandths of a core.
func CPU(s string) (int64, error) {
	text, scale := strings.TrimSpace(s), 1000.0
	if t, ok := strings.CutSuffix(text, "m"); ok {
		text, scale = t, 1
	}
	n, err := number(text, scale)
	if err != nil {
		return 0, fmt.Errorf("`%s` is not an amount of CPU: give cores, as 2 or 0.5, or thousandths, as 500m", s)
	}
	return n, nil
}

// units of bytes. A lone letter is binary, as Docker has it.
var units = map[string]float64{
	"": 1, "b": 1,
	"k": 1 << 10, "ki": 1 << 10, "kib": 1 << 10, "kb": 1e3,
	"m": 1 << 20, "mi": 1 << 20, "mib": 1 << 20, "mb": 1e6,
	"g": 1 << 30, "gi": 1 << 30, "gib": 1 << 30, "gb": 1e9,
	"t": 1 << 40, "ti": 1 << 40, "tib": 1 << 40, "tb": 1e12,
}

// Bytes reads an amount of memory: "512Mi", "1.5g", "1000000".
func Bytes(s string) (int64, error) {
	text := strings.ToLower(strings.TrimSpace(s))
	end := strings.LastIndexAny(text, "0123456789.") + 1
	scale, ok := units[strings.TrimSpace(text[end:])]
	if ok {
		if n, err := number(text[:end], scale); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("`%s` is not an amount of memory: give bytes with a unit, as 512Mi or 2Gi", s)
}

func number(text string, scale float64) (int64, error) {
	if strings.Trim(text, "0123456789.") != "" {
		return 0, strconv.ErrSyntax
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, err
	}
	if f *= scale; f < 1 || f > math.MaxInt64/2 {
		return 0, strconv.ErrRange
	}
	return int64(f), nil
}
