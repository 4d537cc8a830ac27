"""Document 000, "Trading Bot Order Scenarios": its Python samples, word for word.

Each stands in a function whose parameters are the names that the sample uses and does not define. `requests` is the
module with a server's address and an account's key.
"""
# fmt: off
# ruff: noqa: N803  the document's code is not ours to mend

from __future__ import annotations

import time


# "Synchronous Pattern (Recommended)"
def synchronous_pattern(requests, order_data, handle_order_accepted, handle_order_rejected):
    # Submit order and wait for definitive result
    response = requests.post('/exchange/orders', json=order_data)
    result = response.json()

    if result['success']:
        order_data = result['data']
        handle_order_accepted(order_data)
    else:
        error_info = result['error']
        handle_order_rejected(error_info)


# "Error Handling Pattern"
def error_handling_pattern(requests, OrderSubmissionFailed):
    def submit_order_with_retry(order_data, max_retries=3):
        for attempt in range(max_retries):
            try:
                response = requests.post('/exchange/orders', json=order_data)
                result = response.json()

                # Success or client error (400s) - don't retry
                if result['success'] or response.status_code < 500:
                    return result

                # Server error (500s) - retry with backoff
                if attempt < max_retries - 1:
                    time.sleep(2 ** attempt)  # Exponential backoff

            except requests.RequestException:
                if attempt < max_retries - 1:
                    time.sleep(2 ** attempt)

        raise OrderSubmissionFailed("Max retries exceeded")

    return submit_order_with_retry


# "Response Processing Pattern"
def response_processing_pattern(OrderError, OrderResult):
    def process_order_response(response):
        """Process order response with proper error handling."""
        result = response.json()

        if not result['success']:
            error = result['error']
            raise OrderError(
                code=error['code'],
                message=error['message'],
                details=error.get('details', {})
            )

        order_data = result['data']
        return OrderResult(
            order_id=result['order_id'],
            status=order_data['status'],
            filled_quantity=order_data['filled_quantity'],
            average_price=order_data['average_price'],
            fees=order_data['fees']
        )

    return process_order_response
