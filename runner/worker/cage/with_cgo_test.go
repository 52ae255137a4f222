//go:build cgo

package cage

const cgoBuild = true
