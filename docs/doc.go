// Package docs holds the documentation. Its tests check that the pages name paths that exist, and that the picture of
// the rooms shows the imports of the code.
package docs
