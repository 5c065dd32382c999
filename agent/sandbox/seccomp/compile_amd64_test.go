package seccomp

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox/osthread"
)

// profile is containerd's default one, as it was for these tests: for the capabilities of every job, or for an administrator's.
func profile(t *testing.T, name string) *specs.LinuxSeccomp {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	p := &specs.LinuxSeccomp{}
	if err := json.Unmarshal(data, p); err != nil {
		t.Fatal(err)
	}
	return p
}

func compiled(t *testing.T, p *specs.LinuxSeccomp) []byte {
	t.Helper()
	program, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

func TestVerdicts(t *testing.T) {
	program := compiled(t, profile(t, "default"))
	const (
		allow, eperm, enosys = unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_ERRNO | 1, unix.SECCOMP_RET_ERRNO | 38
		x64, x86             = unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386
	)
	for _, tt := range []struct {
		name string
		call call
		want uint32
	}{
		{"read", call{number: unix.SYS_READ, arch: x64}, allow},
		{"mount", call{number: unix.SYS_MOUNT, arch: x64}, eperm},
		{"bpf", call{number: unix.SYS_BPF, arch: x64}, eperm},
		{"a call that the profile is too old for", call{number: 100_000, arch: x64}, enosys},
		{"x32", call{number: unix.SYS_READ | 0x40000000, arch: x64}, enosys},
		{"clone of a process", call{number: unix.SYS_CLONE, arch: x64, args: [6]uint64{unix.CLONE_VFORK}}, allow},
		{"clone into a user namespace", call{number: unix.SYS_CLONE, arch: x64, args: [6]uint64{unix.CLONE_NEWUSER}}, eperm},
		{"clone3", call{number: unix.SYS_CLONE3, arch: x64}, enosys},
		{"a socket", call{number: unix.SYS_SOCKET, arch: x64, args: [6]uint64{unix.AF_INET}}, allow},
		{"a vsock", call{number: unix.SYS_SOCKET, arch: x64, args: [6]uint64{unix.AF_VSOCK}}, eperm},
		{"a vsock, with the upper half set", call{number: unix.SYS_SOCKET, arch: x64, args: [6]uint64{1<<32 | unix.AF_VSOCK}}, eperm},
		{"AF_ALG", call{number: unix.SYS_SOCKET, arch: x64, args: [6]uint64{unix.AF_ALG}}, eperm},
		{"a socket family above those that are refused", call{number: unix.SYS_SOCKET, arch: x64, args: [6]uint64{unix.AF_XDP}}, allow},
		{"personality 8", call{number: unix.SYS_PERSONALITY, arch: x64, args: [6]uint64{8}}, allow},
		{"personality 9", call{number: unix.SYS_PERSONALITY, arch: x64, args: [6]uint64{9}}, eperm},
		{"exit of a 32-bit program", call{number: 1, arch: x86}, allow},
		{"mount of a 32-bit program", call{number: 21, arch: x86}, eperm},
		{"another machine's", call{number: 1, arch: unix.AUDIT_ARCH_AARCH64}, unix.SECCOMP_RET_KILL_THREAD},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := run(program, tt.call)
			if err != nil || got != tt.want {
				t.Fatalf("%#x, %v; want %#x", got, err, tt.want)
			}
		})
	}
}

func TestWhatIsNotKnownIsRefused(t *testing.T) {
	for name, change := range map[string]func(*specs.LinuxSeccomp){
		"flags":        func(p *specs.LinuxSeccomp) { p.Flags = []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog} },
		"a listener":   func(p *specs.LinuxSeccomp) { p.ListenerPath = "/run/listener" },
		"an action":    func(p *specs.LinuxSeccomp) { p.Syscalls[0].Action = specs.ActTrace },
		"a default":    func(p *specs.LinuxSeccomp) { p.DefaultAction = specs.ActNotify },
		"a comparison": func(p *specs.LinuxSeccomp) { p.Syscalls[0].Args = []specs.LinuxSeccompArg{{Op: specs.OpGreaterThan}} },
		"too few arguments": func(p *specs.LinuxSeccomp) {
			p.Syscalls[0].Args = []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}
		},
		"a contradiction": func(p *specs.LinuxSeccomp) {
			errno := uint(5)
			p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno, ErrnoRet: &errno})
		},
	} {
		p := profile(t, "default")
		change(p)
		if _, err := Compile(p); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSameAsTheRuntime holds the program against the one that runc has libseccomp make of the same profile, for every number and
// for the arguments that any rule looks at.
func TestSameAsTheRuntime(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("reading a process's filters needs root")
	}
	if _, err := exec.LookPath("runc"); err != nil {
		t.Skip("no runc here")
	}
	for _, name := range []string{"default", "administrator"} {
		p := profile(t, name)
		theirs, ours := byRunc(t, p), compiled(t, p)
		t.Logf("%d instructions; %d of the runtime", len(ours)/8, len(theirs)/8)
		args := []uint64{0, 1, 2, 8, 20, 37, 38, 39, 40, 41, 0x20000, 0x20008, 0xffffffff, 1 << 32, unix.CLONE_NEWUSER, unix.CLONE_NEWNS | 17, 0x7E020000, 1<<32 | 40}
		differ := 0 // only the first are told
		for _, arch := range []uint32{unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_ARM} {
			for number := range uint32(1100) {
				for _, a := range args {
					for _, b := range []uint64{0, a} {
						if arch != unix.AUDIT_ARCH_X86_64 {
							a, b = uint64(uint32(a)), uint64(uint32(b))
						}
						c := call{number: number, arch: arch, args: [6]uint64{a, b, a}}
						want, err1 := run(theirs, c)
						got, err2 := run(ours, c)
						if err := errors.Join(err1, err2); err != nil {
							t.Fatal(err)
						}
						// The runtime's library may be too old to know a call of the profile.
						tooOld := got == unix.SECCOMP_RET_ALLOW && listed(p, arch, number)
						if got != want && !tooOld {
							if differ++; differ < 20 {
								t.Errorf("call %d of arch %#x with %#x: %#x, the runtime's says %#x", number, arch, c.args, got, want)
							}
						}
					}
				}
			}
		}
	}
}

// listed is whether the profile allows a call whatever its arguments are.
func listed(p *specs.LinuxSeccomp, audit, number uint32) bool {
	for _, a := range arches {
		for _, rule := range p.Syscalls {
			if a.audit == audit && rule.Action == specs.ActAllow && len(rule.Args) == 0 && slices.ContainsFunc(rule.Names, func(name string) bool {
				n, ok := a.numbers[name]
				return ok && n == number
			}) {
				return true
			}
		}
	}
	return false
}

// byRunc starts a container with the profile and reads its program back.
func byRunc(t *testing.T, p *specs.LinuxSeccomp) []byte {
	t.Helper()
	dir := t.TempDir()
	spec := specs.Spec{
		Version: "1.0.2", Root: &specs.Root{Path: "rootfs"},
		Process: &specs.Process{Args: []string{"/bin/sleep", "60"}, Cwd: "/", Env: []string{"PATH=/bin"}, NoNewPrivileges: true},
		Linux:   &specs.Linux{Seccomp: p, Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}}},
	}
	spec.Mounts = []specs.Mount{{Destination: "/proc", Source: "proc", Type: "proc"}}
	for _, host := range []string{"/bin", "/lib", "/lib64", "/usr"} {
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: host, Source: host, Type: "bind", Options: []string{"rbind", "ro"}})
	}
	data, err := json.Marshal(spec)
	if err == nil {
		err = errors.Join(os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600), os.Mkdir(filepath.Join(dir, "rootfs"), 0o700))
	}
	if err != nil {
		t.Fatal(err)
	}
	id := "slipway-seccomp-" + strconv.Itoa(os.Getpid())
	root := filepath.Join(dir, "state")
	t.Cleanup(func() { _ = exec.Command("runc", "--root", root, "delete", "--force", id).Run() })
	cmd := exec.Command("runc", "--root", root, "run", "--detach", "--bundle", dir, "--pid-file", filepath.Join(dir, "pid"), id)
	// A file, not a pipe: the container inherits it, and its end would be waited for.
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(output.Name())
		t.Fatalf("runc run: %v: %s", err, said)
	}
	text, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	program, err := filterOf(pid)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EIO) {
		t.Skip("this kernel does not tell a process's filters: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("runc", "--root", root, "delete", "--force", id).Run(); err != nil {
		t.Fatalf("runc delete: %v", err)
	}
	return program
}

// filterOf reads a process's newest filter: ptrace(2), PTRACE_SECCOMP_GET_FILTER.
func filterOf(pid int) (program []byte, err error) {
	err = osthread.Throwaway(func() error {
		ptrace := func(request, addr uintptr, data unsafe.Pointer) (int, error) {
			n, _, errno := unix.Syscall6(unix.SYS_PTRACE, request, uintptr(pid), addr, uintptr(data), 0, 0)
			if errno != 0 {
				return 0, errno
			}
			return int(n), nil
		}
		if _, err := ptrace(unix.PTRACE_SEIZE, 0, nil); err != nil {
			return err
		}
		if _, err := ptrace(unix.PTRACE_INTERRUPT, 0, nil); err != nil {
			return err
		}
		var status unix.WaitStatus
		if _, err := unix.Wait4(pid, &status, unix.WALL, nil); err != nil {
			return err
		}
		n, err := ptrace(unix.PTRACE_SECCOMP_GET_FILTER, 0, nil)
		if err != nil {
			return err
		}
		program = make([]byte, 8*n)
		_, err = ptrace(unix.PTRACE_SECCOMP_GET_FILTER, 0, unsafe.Pointer(&program[0]))
		return err
	})
	return program, err
}
