package program_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/program"
)

// shKilled is the error of a shell that was killed.
const shKilled = "sh was killed: it may have run out of memory (addon.jobTemplate.spec.resources.limits, or " +
	"addon.containerRuntimeSettings.resources.limits if that is set)"

// script runs lines in a shell, which stands for any program. Grace is long: a busy machine may give a program no time
// for many seconds.
func script(lines string) program.Spec {
	return program.Spec{
		Args: []string{"/bin/sh", "-c", lines}, Env: []string{"PATH=" + os.Getenv("PATH")},
		Grace: 2 * time.Minute,
	}
}

// brief gives a program little time, because the test waits until it is over.
func brief(spec program.Spec) program.Spec {
	spec.Grace = 300 * time.Millisecond
	return spec
}

func TestAnOutputEndsWellOnlyIfItsProgramDid(t *testing.T) {
	for name, tc := range map[string]struct {
		spec  program.Spec
		wrote string
		says  string // empty: it ended well
		empty bool
	}{
		"exit code 0":                {spec: script("echo data"), wrote: "data\n"},
		"exit code 0, with warnings": {spec: script("echo warning >&2; echo data"), wrote: "data\n"},
		"exit code 1 after everything": {
			spec:  script("echo data; echo connection lost >&2; exit 1"),
			wrote: "data\n", says: "sh ended with exit code 1: connection lost",
		},
		"exit code 1, silent": {spec: script("exit 1"), says: "sh ended with exit code 1"},
		"killed after everything": {
			spec: script("echo data; kill -9 $$"), wrote: "data\n",
			says: shKilled,
		},
		"ended by another signal": {
			spec: script("echo data; kill -11 $$"), wrote: "data\n",
			says: "sh was ended by signal 11 (segmentation fault)",
		},
		"nothing, and exit code 0": {
			spec: script(":"), says: "sh ended with exit code 0, but wrote nothing",
			empty: true,
		},
		"only messages, and exit code 0": {
			spec: script("echo no tables >&2"),
			says: "sh ended with exit code 0, but wrote nothing: no tables", empty: true,
		},
		"its output closed, but it goes on": {
			spec: brief(script("echo data; exec >&-; sleep 600")), wrote: "data\n",
			says: "sh closed its output, but did not end",
		},
		"its output closed, and it fails later": {
			spec: script("echo data; exec >&-; sleep 0.1; exit 3"), wrote: "data\n",
			says: "sh ended with exit code 3",
		},
		"its output closed, and it ends later": {spec: script("echo data; exec >&-; sleep 0.1"), wrote: "data\n"},
		"a process left behind, silent": {
			spec: brief(script("echo data; sleep 600 &")), wrote: "data\n",
			says: "sh ended, but left a process behind that did not close its output",
		},
		"a process left behind, after a failure": {
			spec: brief(script("echo data; sleep 600 & exit 4")), wrote: "data\n",
			says: "sh ended with exit code 4",
		},
		"a process left behind that ends in time": {
			spec: script("echo data; (sleep 0.1; echo more) &"), wrote: "data\nmore\n",
		},
		"no such program": {
			spec: program.Spec{Args: []string{"pg_dump_of_tomorrow", "--password=x"}},
			says: "the image has no program pg_dump_of_tomorrow",
		},
		"no such path": {
			spec: program.Spec{Args: []string{"/nowhere/pg_dump"}}, says: "the image has no program pg_dump",
		},
		"no program":     {spec: program.Spec{}, says: "no program to run"},
		"not executable": {spec: program.Spec{Args: []string{"/etc/passwd"}}, says: "program passwd is not executable"},
		"data in what it says": {
			spec: script(
				`printf 'ERROR:  duplicate key\nDETAIL:  Key (email)=(joe)\nCONTEXT:  COPY users, line 1\n` +
					`LINE 1: select secret\n' >&2; exit 1`),
			says:  "sh ended with exit code 1: ERROR:  duplicate key",
			wrote: "",
		},
	} {
		everywhere(t, name, func(t *testing.T, at place) {
			t.Parallel()
			g := NewWithT(t)
			wrote, err := read(t.Context(), at(tc.spec))
			g.Expect(wrote).To(Equal(tc.wrote))
			if tc.says == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			var bad *program.Error
			g.Expect(errors.As(err, &bad)).To(BeTrue(), "%v", err)
			g.Expect(bad.Message).To(Equal(tc.says))
			g.Expect(bad.Empty).To(Equal(tc.empty))
		})
	}
}

// read returns everything that a program writes, and its last error except io.EOF.
func read(ctx context.Context, spec program.Spec) (string, error) {
	out, err := program.Start(ctx, spec)
	if err != nil {
		return "", err
	}
	defer out.Close()
	b, err := io.ReadAll(out)
	if again, err2 := out.Read(make([]byte, 1)); again != 0 || err2 == nil || err != nil && !errors.Is(err2, err) {
		return "", fmt.Errorf("the end is not the same a second time: %w", err2)
	}
	return string(b), err
}

// TestASlowReaderLosesNothing: data that a program left in the pipe at its end is read, however long that takes.
func TestASlowReaderLosesNothing(t *testing.T) {
	everywhere(t, "", func(t *testing.T, at place) {
		t.Parallel()
		slowly(t, at)
	})
}

// slowly reads what a program has left in the pipe at its end.
func slowly(t *testing.T, at place) {
	g := NewWithT(t)
	spec := at(script("head -c 500000 /dev/zero"))
	spec.Grace = 5 * time.Second
	out, err := program.Start(t.Context(), spec)
	g.Expect(err).NotTo(HaveOccurred())
	defer out.Close()
	buf := make([]byte, 100_000)
	total, slept := 0, false
	for {
		n, err := out.Read(buf)
		total += n
		if err == io.EOF {
			break
		}
		g.Expect(err).NotTo(HaveOccurred())
		if !slept && total > 450_000 { // the rest fits into the pipe, so the program ends
			time.Sleep(spec.Grace + 50*time.Millisecond) // the reader is slow: that is what is tested
			slept = true
		}
	}
	g.Expect(total).To(Equal(500_000))
}

func TestWhatWasSaidIsScrubbedAndBounded(t *testing.T) {
	everywhere(t, "", said)
}

func said(t *testing.T, at place) {
	g := NewWithT(t)
	spec := at(script(`i=0; while [ $i -lt 2000 ]; do echo "line $i hunter2 $(printf '\033[31m')" >&2; i=$((i+1)); done
		head -c 200000 /dev/zero | tr '\0' x >&2; echo hunter2 >&2; printf 'no end hunter2' >&2; exit 1`))
	spec.Scrub = strings.NewReplacer("hunter2", "***").Replace
	_, err := read(t.Context(), spec)
	g.Expect(err).To(MatchError(HaveSuffix("line 1999 *** .[31m; (a line that is too long); no end ***")))
	g.Expect(len(err.Error())).To(BeNumerically("<", 1000))
	g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
	_, err = read(t.Context(), at(script(`head -c 5000 /dev/zero | tr '\0' x >&2; exit 1`)))
	g.Expect(err).To(MatchError(And(HaveSuffix("x…"), HaveLen(267))), "a long line is cut")
}

func TestAProgramSeesItsOwnEnvironmentAlone(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
	wrote, err := read(t.Context(), program.Spec{Args: []string{"/usr/bin/env"}, Env: []string{"A=b c"}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(wrote).To(Equal("A=b c\n"))
	wrote, err = read(t.Context(),
		program.Spec{Args: []string{"/bin/sh", "-c", `echo "$#" "$1"; cat`, "sh", "$(id) `id` ; $HOME *"}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(wrote).To(Equal("1 $(id) `id` ; $HOME *\n"), "no shell has read it, and the standard input is empty")
}

func TestAProgramIsToldToStop(t *testing.T) {
	for name, tc := range map[string]struct {
		lines, left string
		killed      bool
	}{
		"and does": {
			lines: `trap 'echo stopped >> left; exit 0' TERM; echo $$; while :; do sleep 0.01; done`,
			left:  "^(stopped\n)+$", // the shell's child, too, until it becomes another program
		},
		"and is killed else": {
			lines: `trap '' TERM; echo $$; while :; do sleep 0.01; done`, killed: true,
		},
		"with its children": {
			lines: `sh -c 'trap "" TERM; echo $$; while :; do sleep 0.01; done' & wait`, killed: true,
		},
	} {
		everywhere(t, name, func(t *testing.T, at place) {
			t.Parallel()
			g := NewWithT(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			spec := at(script(tc.lines))
			if tc.killed {
				spec = brief(spec)
			}
			spec.Dir = t.TempDir()
			out, err := program.Start(ctx, spec)
			g.Expect(err).NotTo(HaveOccurred())
			pid := firstNumber(g, out)
			cancel()
			_, err = out.Read(make([]byte, 1))
			g.Expect(err).To(MatchError(context.Canceled))
			out.Close()
			g.Eventually(gone).WithArguments(pid).WithTimeout(time.Minute).
				Should(BeTrue(), "it is dying when Close returns")
			if tc.left != "" {
				g.Expect(os.ReadFile(filepath.Join(spec.Dir, "left"))).To(MatchRegexp(tc.left))
			}
		})
	}
}

// firstNumber reads the first line that a program writes.
func firstNumber(g *WithT, r io.Reader) int {
	var line []byte
	for !bytes.HasSuffix(line, []byte("\n")) {
		b := make([]byte, 1)
		_, err := r.Read(b)
		g.Expect(err).NotTo(HaveOccurred())
		line = append(line, b...)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(line)))
	g.Expect(err).NotTo(HaveOccurred())
	return n
}

func TestAnOutputThatNobodyReadsIsClosed(t *testing.T) {
	everywhere(t, "", func(t *testing.T, at place) {
		g := NewWithT(t)
		out, err := program.Start(t.Context(), at(script("echo $$; cat /dev/zero")))
		g.Expect(err).NotTo(HaveOccurred())
		pid := firstNumber(g, out)
		out.Close()
		out.Close()
		g.Expect(gone(pid)).To(BeTrue())
	})
}

func TestAnInputWasTakenOnlyIfItsProgramSaysSo(t *testing.T) {
	for name, tc := range map[string]struct {
		spec  program.Spec
		says  string // empty: it ended well
		large bool   // what it does not read has to fill the pipe
	}{
		"all of it": {spec: script("cat >taken")},
		"all of it, and exit code 2": {
			spec: script("cat >taken; echo syntax error >&2; exit 2"),
			says: "sh ended with exit code 2: syntax error",
		},
		"a part, and exit code 0": {
			spec: script("head -c 10 >taken"),
			says: "sh ended with exit code 0 before it had read everything",
		},
		"a part, and exit code 3": {
			spec: script("head -c 10 >taken; exit 3"),
			says: "sh ended with exit code 3",
		},
		"a part, and goes on": {
			spec: brief(script("head -c 10 >taken; exec <&-; sleep 600")), large: true,
			says: shKilled,
		},
		"nothing": {spec: script("exit 1"), says: "sh ended with exit code 1"},
		"all of it, and killed then": {
			spec: script("cat >taken; kill -9 $$"),
			says: shKilled,
		},
		"all of it, and data on standard output": {spec: script("cat; exit 1"), says: "sh ended with exit code 1"},
	} {
		for size, data := range map[string][]byte{
			"more than fits into a pipe": bytes.Repeat([]byte("0123456789abcdef"), 256<<10),
			"little":                     bytes.Repeat([]byte("0123456789abcdef"), 16),
		} {
			if tc.large && size == "little" {
				continue
			}
			everywhere(t, name+", "+size, func(t *testing.T, at place) {
				t.Parallel()
				taken(t, at(tc.spec), data, tc.says)
			})
		}
	}
}

// taken feeds data to a program and checks the result.
func taken(t *testing.T, spec program.Spec, data []byte, says string) {
	g := NewWithT(t)
	spec.Dir = t.TempDir()
	in, err := program.Feed(t.Context(), spec)
	g.Expect(err).NotTo(HaveOccurred())
	defer in.Close()
	_, err = in.Write(data)
	if err == nil {
		g.Expect(in.Written()).To(BeEquivalentTo(len(data)))
		err = in.Finish()
	} else {
		g.Expect(in.Finish()).To(Equal(err), "it stays broken")
	}
	if says == "" {
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(os.ReadFile(filepath.Join(spec.Dir, "taken"))).To(Equal(data))
		return
	}
	g.Expect(err).To(MatchError(says))
}

// TestAnInputThatIsGivenUpDoesNotEnd: a program that commits at the end of its input must see no end.
func TestAnInputThatIsGivenUpDoesNotEnd(t *testing.T) {
	for name, cancels := range map[string]bool{"by Close": false, "by its context": true} {
		everywhere(t, name, func(t *testing.T, at place) {
			t.Parallel()
			g := NewWithT(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			spec := at(script("cat >taken; echo committed >committed"))
			spec.Dir = t.TempDir()
			in, err := program.Feed(ctx, spec)
			g.Expect(err).NotTo(HaveOccurred())
			_, err = in.Write([]byte("a part"))
			g.Expect(err).NotTo(HaveOccurred())
			g.Eventually(func() ([]byte, error) { return os.ReadFile(filepath.Join(spec.Dir, "taken")) }).
				WithTimeout(time.Minute).Should(BeEquivalentTo("a part"), "the program has it")
			if cancels {
				cancel()
				g.Eventually(func() error { _, err := in.Write([]byte("more")); return err }).
					WithTimeout(time.Minute).Should(MatchError(context.Canceled), "the program ends soon")
			}
			in.Close()
			g.Expect(filepath.Join(spec.Dir, "committed")).NotTo(BeAnExistingFile())
		})
	}
}

// TestAProgramEndsWithItsParent runs itself as the parent, which is killed.
func TestAProgramEndsWithItsParent(t *testing.T) {
	g := NewWithT(t)
	if os.Getenv("CAIRN_TEST_PARENT") != "" {
		out, err := program.Start(t.Context(), script("echo $$; sleep 600"))
		g.Expect(err).NotTo(HaveOccurred())
		fmt.Println(firstNumber(g, out))
		g.Expect(syscall.Kill(os.Getpid(), syscall.SIGKILL)).To(Succeed())
		select {}
	}
	self, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	out, err := program.Start(t.Context(), program.Spec{
		Args: []string{self, "-test.run=^" + t.Name() + "$"},
		Env:  []string{"CAIRN_TEST_PARENT=1", "PATH=" + os.Getenv("PATH")}, Grace: time.Minute,
	})
	g.Expect(err).NotTo(HaveOccurred())
	pid := firstNumber(g, out)
	_, err = io.ReadAll(out)
	g.Expect(err).To(MatchError(ContainSubstring("was killed")))
	out.Close()
	g.Eventually(gone).WithArguments(pid).WithTimeout(time.Minute).Should(BeTrue(), "the kernel kills it")
}

// gone reports whether a process has ended. A process whose parent has gone can wait to be reaped.
func gone(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || bytes.Contains(b, []byte(") Z "))
}
