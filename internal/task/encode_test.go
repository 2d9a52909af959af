package task_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// initOf returns a Task with so many bytes of text that pack badly.
func initOf(bytes int) task.Task {
	var s strings.Builder
	for i := 0; s.Len() < bytes; i++ {
		fmt.Fprintf(&s, "%x", i*i)
	}
	return task.Task{
		Kind: task.KindInitStorage, Cluster: "c", DatabaseSecret: s.String(),
		Storage: task.Storage{Spec: v1alpha1.Storage{Provider: v1alpha1.ProviderLocal}},
	}
}

func TestTasksSurviveTheirEncoding(t *testing.T) {
	for _, size := range []int{0, 1 << 10, 64 << 10, 1 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			g := NewWithT(t)
			want := initOf(size)
			text, err := task.Encode(want)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(strings.HasPrefix(text, "{")).To(Equal(size < 64<<10), "people can read a small task")
			got, err := task.Decode([]byte(text), task.KindInitStorage)
			g.Expect(err).NotTo(HaveOccurred())
			want.Version = task.Version
			g.Expect(got).To(Equal(want))
		})
	}
}

func TestTextThatIsNoTask(t *testing.T) {
	text, err := task.Encode(initOf(1 << 20))
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]string{
		"nothing": "", "no JSON": "x", "half a packed task": text[:len(text)/8*4],
		"base64 of something else": base64.StdEncoding.EncodeToString([]byte("{}")),
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := task.Decode([]byte(s), task.KindInitStorage)
			g.Expect(err).To(MatchError(ContainSubstring("decode task: ")))
		})
	}
}

func TestAPackedTaskHasALimit(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	text, err := task.Encode(initOf(16 << 20))
	g.Expect(err).NotTo(HaveOccurred())
	_, err = task.Decode([]byte(text), task.KindInitStorage)
	g.Expect(err).To(MatchError(ContainSubstring("unpack: more than 16777216 bytes")))
}
