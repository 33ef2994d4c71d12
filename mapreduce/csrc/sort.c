/* Keys, and the values that belong to them, in order: a stable merge sort of ranks, which stand side by side. */

#include "loops.h"
#include "rank.h"

/* Many keys that are alike so far are ranked by what comes next in them, so often; then they are compared. */
#define MOST_ROUNDS 8
/* Up to so many are compared at once; and runs that are shorter are made this long. */
#define FEW_RANKS 16

typedef struct {
    PyObject *keys;
    PyTypeObject *kind; /* of all of them */
    Rank *spare;        /* room for as many ranks as there are */
    size_t *borders;    /* and for those of their runs */
    int compares;       /* whether keys of equal ranks are compared */
} Sort;

/* Whether the first of two keys is less. */
static int
is_key_less(const Sort *sort, const Rank *first, const Rank *second)
{
    PyObject *one = PyList_GetItem(sort->keys, first->position), *other = PyList_GetItem(sort->keys, second->position);
    if (sort->kind == &PyUnicode_Type)
        return PyUnicode_Compare(one, other) < 0;
    Py_ssize_t length = PyBytes_Size(one), others = PyBytes_Size(other);
    int order = memcmp(PyBytes_AsString(one), PyBytes_AsString(other), (size_t)(length < others ? length : others));
    return order < 0 || (order == 0 && length < others);
}

static int
is_rest_less(const Sort *sort, const Rank *first, const Rank *second)
{
    if (first->rest != second->rest)
        return first->rest < second->rest;
    return sort->compares && is_key_less(sort, first, second);
}

static inline int
is_less(const Sort *sort, const Rank *first, const Rank *second)
{
    return UNLIKELY(first->head == second->head) ? is_rest_less(sort, first, second) : first->head < second->head;
}

/* Up to where ranks are in order, or else have been brought into it. */
static size_t
end_of_run(const Sort *sort, Rank *ranks, size_t start, size_t count)
{
    size_t end = start + 1;
    while (end < count && !is_less(sort, &ranks[end], &ranks[end - 1]))
        end++;
    for (; end < count && end - start < FEW_RANKS; end++) {
        Rank rank = ranks[end];
        size_t at = end;
        for (; at > start && is_less(sort, &rank, &ranks[at - 1]); at--)
            ranks[at] = ranks[at - 1];
        ranks[at] = rank;
    }
    return end;
}

static void
merge_runs(const Sort *sort, const Rank *left, const Rank *middle, const Rank *end, Rank *to)
{
    const Rank *right = middle;
    while (left < middle && right < end) {
        /* which one comes nobody can foresee, least of all the processor: no branch hangs on it */
        int takes_right = is_less(sort, right, left);
        *to++ = left[(right - left) * takes_right];
        right += takes_right;
        left += 1 - takes_right;
    }
    memcpy(to, left, (size_t)(middle - left) * sizeof(Rank));
    memcpy(to + (middle - left), right, (size_t)(end - right) * sizeof(Rank));
}

/* Bring ranks into order, stably: find the runs that are there, as `list.sort` does, and merge neighbours until there is
 * one. */
static void
sort_ranks(const Sort *sort, Rank *ranks, size_t count)
{
    Rank *from = ranks, *to = sort->spare;
    size_t *borders = sort->borders, runs = 0;
    for (size_t end = 0; end < count; runs++) {
        borders[runs] = end;
        end = end_of_run(sort, ranks, end, count);
    }
    borders[runs] = count;
    while (runs > 1) {
        size_t merged = 0;
        for (size_t run = 0; run < runs; run += 2) {
            size_t start = borders[run], middle = borders[run + 1], end = run + 1 < runs ? borders[run + 2] : middle;
            merge_runs(sort, from + start, from + middle, from + end, to + start);
            borders[merged++] = start;
        }
        borders[merged] = count;
        runs = merged;
        Rank *sorted = to;
        to = from;
        from = sorted;
    }
    if (from != ranks)
        memcpy(ranks, from, count * sizeof(Rank));
}

static void sort_longer(Sort *sort, Rank *ranks, size_t count, Py_ssize_t start, int round);

/* Bring ranks of keys that are alike so far into order by what comes from `start` on. */
static void
sort_alike(Sort *sort, Rank *ranks, size_t count, Py_ssize_t start, int round)
{
    size_t ordered = 1;
    while (ordered < count && !is_key_less(sort, &ranks[ordered], &ranks[ordered - 1]))
        ordered++;
    if (ordered == count) /* equal keys, above all */
        return;
    if (count > FEW_RANKS && round < MOST_ROUNDS && rank_all(sort->keys, sort->kind, ranks, count, start)) {
        sort_ranks(sort, ranks, count);
        sort_longer(sort, ranks, count, start, round + 1);
        return;
    }
    sort->compares = 1;
    sort_ranks(sort, ranks, count);
    sort->compares = 0;
}

/* Ranks are in order, which were made from `start` on: now those are that are equal, while their keys may be not. */
static void
sort_longer(Sort *sort, Rank *ranks, size_t count, Py_ssize_t start, int round)
{
    for (size_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && ranks[end].head == ranks[i].head && ranks[end].rest == ranks[i].rest;)
            end++;
        if (end - i > 1 && (ranks[i].rest & 255) == LONGER)
            sort_alike(sort, ranks + i, end - i, start + items_ranked(sort->keys, sort->kind, ranks[i], start), round);
    }
}

/* Fill a new list with the items of another in the order of ranks. */
static void
take_in_order(PyObject *to, PyObject *items, const Rank *ranks, Py_ssize_t length)
{
    for (Py_ssize_t i = 0; i < length; i++) {
        if (i + AHEAD < length)
            FETCH(PyList_GetItem(items, ranks[i + AHEAD].position));
        PyObject *item = PyList_GetItem(items, ranks[i].position);
        Py_INCREF(item);
        PyList_SetItem(to, i, item);
    }
}

/* 0 if not all keys can be ranked; -1 if there was an error. */
static int
sort_all(Sort *sort, Rank *ranks, size_t count)
{
    if (ranks == NULL || sort->spare == NULL || sort->borders == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < count; i++)
        ranks[i].position = (uint32_t)i;
    if (!rank_all(sort->keys, sort->kind, ranks, count, 0))
        return 0;
    sort_ranks(sort, ranks, count);
    sort_longer(sort, ranks, count, 0, 1);
    return PyErr_Occurred() ? -1 : 1;
}

PyObject *
sorted_by_rank(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *keys, *values;
    if (!PyArg_ParseTuple(args, "O!O!:sorted_by_rank", &PyList_Type, &keys, &PyList_Type, &values))
        return NULL;
    Py_ssize_t length = PyList_Size(keys);
    if (length == 0 || (uint64_t)length > UINT32_MAX)
        Py_RETURN_NONE;
    PyObject *result = NULL, *sorted_keys = PyList_New(length), *sorted_values = PyList_New(length);
    Rank *ranks = PyMem_New(Rank, length);
    Sort sort = {.keys = keys, .spare = PyMem_New(Rank, length), .borders = PyMem_New(size_t, length / FEW_RANKS + 2)};
    if (sorted_keys == NULL || sorted_values == NULL)
        goto end;
    /* looked at as late as this: to make a list may run the garbage collector, and so anybody's code */
    if (PyList_Size(keys) != length || PyList_Size(values) != length) {
        PyErr_SetString(PyExc_ValueError, "there is to be a value for each key");
        goto end;
    }
    sort.kind = Py_TYPE(PyList_GetItem(keys, 0));
    int status = sort_all(&sort, ranks, (size_t)length);
    if (status < 0)
        goto end;
    if (status == 0) {
        Py_INCREF(Py_None);
        result = Py_None;
        goto end;
    }
    take_in_order(sorted_keys, keys, ranks, length);
    take_in_order(sorted_values, values, ranks, length);
    result = PyTuple_Pack(2, sorted_keys, sorted_values);
end:
    PyMem_Free(sort.spare);
    PyMem_Free(sort.borders);
    PyMem_Free(ranks);
    Py_XDECREF(sorted_keys);
    Py_XDECREF(sorted_values);
    return result;
}
