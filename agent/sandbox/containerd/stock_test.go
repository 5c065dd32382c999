package containerd

import (
	"testing"
	"time"
)

func TestStock(t *testing.T) {
	now := time.Unix(1e9, 0)
	alive := map[*ahead]bool{}
	lives := func(a *ahead) bool { return alive[a] }
	sh := shape{Image: "a"}
	k := &stock{per: 1, idle: time.Minute, shelves: map[shape]*shelf{}}
	plan := func(wantDrop int, wantBuild string, wantWait time.Duration) {
		t.Helper()
		drop, build, wait := k.plan(now, lives, false)
		image := ""
		if build != nil {
			image = build.Image
		}
		if len(drop) != wantDrop || image != wantBuild || image == "" && wait != wantWait {
			t.Errorf("drop %d, build %q, wait %s; want %d, %q, %s", len(drop), image, wait, wantDrop, wantBuild, wantWait)
		}
	}
	plan(0, "", never)
	if k.use(sh, now, lives) != nil {
		t.Error("a pod out of nothing")
	}
	k.busy = 1
	plan(0, "", never) // a job begins
	k.busy, k.since = 0, now
	plan(0, "", quietTime)
	now = now.Add(quietTime)
	plan(0, "a", 0)
	a := &ahead{shape: sh}
	alive[a] = true
	if !k.put(a) || k.put(&ahead{shape: sh}) || k.put(&ahead{shape: shape{Image: "b"}}) {
		t.Error("a shelf takes as many as it has room for, of a shape that is wanted")
	}
	plan(0, "", time.Minute-quietTime)
	alive[a] = false
	plan(1, "a", 0) // it died
	k.spoil(sh, now)
	plan(0, "", spoiledPause)
	k.spoil(sh, now)
	plan(0, "", 2*spoiledPause)
	now = now.Add(2 * spoiledPause)
	plan(0, "a", 0)
	k.put(a)
	alive[a] = true
	if k.use(sh, now, lives) != a || k.use(sh, now, lives) != nil {
		t.Error("a pod is for one job")
	}
	k.put(a)
	if drop, build, _ := k.plan(now, lives, true); len(drop) != 1 || build != nil {
		t.Errorf("without memory: drop %d, build %v", len(drop), build)
	}
	k.put(a)
	now = now.Add(time.Minute)
	plan(1, "", never) // nobody asked for it
	if len(k.shelves) != 0 {
		t.Error("the shape is still known")
	}
}

func TestStockKeepsTheLatestShapes(t *testing.T) {
	now := time.Unix(1e9, 0)
	k := &stock{per: 1, idle: time.Hour, shelves: map[shape]*shelf{}}
	yes := func(*ahead) bool { return true }
	for i := range maxShapes + 2 {
		sh := shape{Image: string(rune('a' + i))}
		k.use(sh, now.Add(time.Duration(i)*time.Second), yes)
		k.put(&ahead{shape: sh})
	}
	drop, build, _ := k.plan(now.Add(time.Minute), yes, false)
	if len(drop) != 2 || build != nil || len(k.shelves) != maxShapes || k.shelves[shape{Image: "a"}] != nil {
		t.Errorf("dropped %d, build %v, %d shapes", len(drop), build, len(k.shelves))
	}
}
