// Document 000, "WebSocket Integration", word for word; the test puts its own address and key in.
// Connect with API key
const ws = new WebSocket('ws://localhost:8000/ws?api_key=your_key');

// Receive real-time updates
ws.onmessage = (event) => {
  const message = JSON.parse(event.data);

  switch(message.type) {
    case 'execution_report':
      handleFill(message);
      break;
    case 'position_snapshot':
      updatePositions(message);
      break;
    case 'order_cancel_ack':
      handleCancellation(message);
      break;
  }
};
