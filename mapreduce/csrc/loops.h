/* What the files of the extension `mapreduce._loops` share. They are the loops of loops.py in C; it says what they do.
 *
 *     counts.c       Counts: how often keys come
 *     totals.c       Totals: what counts of lines add up to
 *     table.h, .c    the hash table of both
 *     add.c          add: what numbers of keys add up to, in a dict
 *     partitions.c   crc32_modulo, distribute, lines_by_crc32: which part a key goes to
 *     sort.c         sorted_by_rank: keys and their values in order
 *     rank.h, .c     the first bytes of keys, by which they are sorted
 *     output.c       text_lines: the lines of the output
 *     text.h         UTF-8, and bytes that are appended to each other
 *     module.c       the module itself
 *
 * Only the limited API of CPython 3.9, so that one build serves all versions from there on. What is called for each key
 * is static, in the file that calls it or inline in a header: from another file it could not be inlined.
 */

#ifndef MAPREDUCE_LOOPS_H
#define MAPREDUCE_LOOPS_H

#define Py_LIMITED_API 0x03090000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if PY_VERSION_HEX < 0x030A0000
/* of the limited API since 3.7, but not in its header */
PyAPI_FUNC(void *) PyMem_Calloc(size_t count, size_t size);
#endif

/* ------------------------------------------------------------------ memory */

#if defined(__GNUC__) || defined(__clang__)
#define FETCH(address) __builtin_prefetch(address)
#define UNLIKELY(condition) __builtin_expect(condition, 0)
#else
#define FETCH(address) ((void)(address))
#define UNLIKELY(condition) (condition)
#endif

/* Have the memory of a str or bytes fetched. */
static inline void
fetch_text(PyObject *text)
{
    FETCH(text);
    FETCH((const char *)text + 48); /* where that of a short str begins */
}

/* how far ahead of its use an item of a list is fetched */
#define AHEAD 16

/* ------------------------------------------------------------------ columns */

static inline int
is_column(PyObject *column)
{
    int are = PyBytes_Check(column) || PyList_Check(column);
    if (!are)
        PyErr_SetString(PyExc_TypeError, "a column is to be bytes or a list");
    return are;
}

/* ------------------------------------------------------------------ what module.c puts together */

typedef struct {
    PyObject *zlib_crc32;
} State;

extern PyType_Spec Counts_spec, Totals_spec;

PyObject *add(PyObject *module, PyObject *args);
PyObject *crc32_modulo(PyObject *module, PyObject *args);
PyObject *distribute(PyObject *module, PyObject *args);
PyObject *lines_by_crc32(PyObject *module, PyObject *args);
PyObject *sorted_by_rank(PyObject *module, PyObject *args);
PyObject *text_lines(PyObject *module, PyObject *args);
PyObject *spread_of(PyObject *module, PyObject *key);

/* Once, before keys are partitioned. */
void fill_crc_table(void);

#endif
