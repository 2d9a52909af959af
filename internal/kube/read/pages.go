package read

import (
	"context"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// pageSize is the number of objects in one answer to a list.
const pageSize = 500

// Pages lists objects page by page, and calls do with each page. live must not be a cache.
func Pages[L any, P interface {
	*L
	client.ObjectList
}](ctx context.Context, live client.Reader, do func(P) error, options ...client.ListOption) error {
	return pages(ctx, live, func() P { return new(L) }, do, options...)
}

// pages lists into a new list for each page.
func pages[P client.ObjectList](
	ctx context.Context, live client.Reader, empty func() P, do func(P) error, options ...client.ListOption,
) error {
	next := ""
	for {
		page := empty()
		err := live.List(ctx, page, append(slices.Clone(options), client.Limit(pageSize), client.Continue(next))...)
		if err != nil {
			return err
		}
		if err := do(page); err != nil {
			return err
		}
		if next = page.GetContinue(); next == "" {
			return nil
		}
	}
}
