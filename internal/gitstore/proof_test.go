package gitstore

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

// TestOnlyAnAcceptedPushProvesARight: a store that finds its content in the branch, or whose push is refused, has shown
// no right to write there.
func TestOnlyAnAcceptedPushProvesARight(t *testing.T) {
	t.Parallel()
	g, ctx := NewWithT(t), t.Context()
	r := newRemote(t)
	writer := r.open(t)
	result, err := writer.Update(ctx, put(map[string]string{record(0): "x"}))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.Accepted()).To(BeTrue())

	reader := r.open(t)
	result, err = reader.Update(ctx, put(map[string]string{record(0): "x"}))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.Outcome).To(Equal(Unchanged))
	g.Expect(result.Accepted()).To(BeFalse(), "everything was there")
	g.Expect(reader.LastPushed()).To(Equal(result.Commit), "although it knows the last commit")

	hook := filepath.Join(r.repo, "hooks", "pre-receive")
	must(t, os.MkdirAll(filepath.Dir(hook), 0o755))
	must(t, os.WriteFile(hook, []byte("#!/bin/sh\nexit 1\n"), 0o755))
	result, err = reader.Update(ctx, put(map[string]string{record(1): "x"}))
	g.Expect(err).To(HaveOccurred())
	g.Expect(result.Accepted()).To(BeFalse(), "the server refuses the push")
	must(t, os.Remove(hook))
	result, err = reader.Update(ctx, put(map[string]string{record(1): "x"}))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.Accepted()).To(BeTrue())
}
